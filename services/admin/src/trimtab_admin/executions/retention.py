"""Retention of execution logs: in the stream for days, and in the database for months.

Only the logs of ended executions are removed, after the database has copied them as a whole. The
state of each node stays, and so does the resolution.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import nats.errors
import nats.js.errors
import sqlalchemy as sa
from nats.aio.client import Client

from trimtab.errors import Retryable, Unavailable
from trimtab.messages import subjects
from trimtab.messages.executions import ENDED
from trimtab.runtime import bus, retrying
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import Sessions, transaction

log = logging.getLogger(__name__)

_EXECUTIONS = tables.executions.c
_STATE = tables.execution_states.c
_EVENT = tables.execution_events.c
_PURGE_SECONDS = 3600.0
_CHECK_SECONDS = 60.0
"""How often the stream is checked for its size."""
_FULL = 0.75
"""The part of the stream's size from which the logs of all ended executions are removed."""
_SHORTEST = timedelta(minutes=10)
"""How long a log stays in any case, so that a request which is delivered again starts nothing."""
_BATCH = 500


class LogPurge:
    """Removes the logs of executions that ended some days ago from the stream.

    It removes all logs of ended executions where the stream is almost full. Several may run at
    once, because removing a log twice is harmless.
    """

    def __init__(self, client: Client, reading: Sessions, days: int) -> None:
        self._client = client
        self._reading = reading
        self._days = days

    async def run(self) -> None:
        """Run until cancelled; during an outage logs only stay longer."""
        checks = round(_PURGE_SECONDS / _CHECK_SECONDS)
        check = 0
        while True:
            try:
                if check % checks == 0:
                    await self.purge(datetime.now(UTC) - timedelta(days=self._days))
                await self.make_room()
            except Unavailable as error:
                log.warning("execution_logs.purge_failed", extra={"error": str(error)})
            retrying.raise_if_cancelled()
            await asyncio.sleep(_CHECK_SECONDS)
            check += 1

    async def make_room(self) -> None:
        """Remove the logs of all ended executions if the stream is almost full.

        Raises `Unavailable`.
        """
        if await self._is_almost_full():
            await self.purge(datetime.now(UTC) - _SHORTEST)
            if await self._is_almost_full():
                # Propeller waits for room to append, so an operator has to raise the limit.
                log.error("execution_events.almost_full")

    async def purge(self, before: datetime) -> None:
        """Remove the logs of executions that ended before a time. Raises `Unavailable`."""
        try:
            logged = await self._logged_executions()
            for first in range(0, len(logged), _BATCH):
                for execution in await self._ended(logged[first : first + _BATCH], before):
                    await self._client.jetstream(timeout=bus.TIMEOUT_SECONDS).purge_stream(
                        subjects.EXECUTION_EVENTS, subject=subjects.events(execution)
                    )
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"cannot purge {subjects.EXECUTION_EVENTS}: {error}") from error

    async def _is_almost_full(self) -> bool:
        jetstream = self._client.jetstream(timeout=bus.TIMEOUT_SECONDS)
        try:
            info = await jetstream.stream_info(subjects.EXECUTION_EVENTS)
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"cannot read {subjects.EXECUTION_EVENTS}: {error}") from error
        limit = info.config.max_bytes or 0
        return limit > 0 and info.state.bytes >= _FULL * limit

    async def _logged_executions(self) -> Sequence[str]:
        """Return the executions whose log is in the stream."""
        info = await self._client.jetstream(timeout=bus.TIMEOUT_SECONDS).stream_info(
            subjects.EXECUTION_EVENTS, subjects_filter=subjects.ALL_EVENTS
        )
        found = map(subjects.logged_execution, info.state.subjects or {})
        return [execution for execution in found if execution is not None]

    async def _ended(self, executions: Sequence[str], before: datetime) -> Sequence[str]:
        """Return those of the executions that ended before a time.

        A row has an ended phase only after the whole log was copied.
        """
        ended = sa.and_(_EXECUTIONS.phase.in_(ENDED), _EXECUTIONS.updated_at < before)
        query = sa.select(_EXECUTIONS.id).where(_EXECUTIONS.id.in_(executions), ended)
        async with transaction(self._reading) as session:
            return list(await session.scalars(query))


class LogDeletion:
    """Deletes the copies of logs of executions that ended many days ago from the database."""

    def __init__(self, sessions: Sessions, days: int) -> None:
        self._sessions = sessions
        self._days = days

    async def run(self) -> None:
        """Run until cancelled; during an outage copies only stay longer."""
        while True:
            try:
                await self.delete(datetime.now(UTC) - timedelta(days=self._days))
            except Retryable as error:
                log.warning("execution_logs.deletion_failed", extra={"error": str(error)})
            await asyncio.sleep(_PURGE_SECONDS)

    async def delete(self, before: datetime) -> None:
        """Delete the copies of logs that ended before a time, one after the other.

        Raises `Retryable`.
        """
        while ended := await self._ended(before):
            for execution in ended:
                await self._delete(execution)
                await asyncio.sleep(0)

    async def _ended(self, before: datetime) -> Sequence[str]:
        kept = _STATE.log_deleted_at.is_(None)
        query = sa.select(_STATE.execution).where(
            kept, _STATE.updated_at < before, _STATE.phase.in_(ENDED)
        )
        async with transaction(self._sessions) as session:
            return list(await session.scalars(query.limit(_BATCH)))

    async def _delete(self, execution: str) -> None:
        state = tables.execution_states.update().where(_STATE.execution == execution)
        resolution = sa.select(_STATE.resolution_index).where(_STATE.execution == execution)
        async with transaction(self._sessions) as session:
            index = await session.scalar(resolution)
            await session.execute(state.values(log_deleted_at=datetime.now(UTC)))
            events = tables.execution_events.delete().where(_EVENT.execution == execution)
            if index is not None:
                events = events.where(_EVENT.index != index)
            await session.execute(events)
