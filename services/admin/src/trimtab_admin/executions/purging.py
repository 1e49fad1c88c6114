"""The logs of executions that ended long ago leave the stream; the copy stays, and serves reads."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import nats.errors
import nats.js.errors
import sqlalchemy as sa
from nats.aio.client import Client

from trimtab.errors import Unavailable
from trimtab.messages import subjects
from trimtab.messages.executions import ENDED
from trimtab.runtime import bus, retrying
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import Sessions, transaction

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 3600.0
_BATCH = 500
_ROW = tables.executions.c


class Purging:
    """Any number may run: what is gone already is no more to be found."""

    def __init__(self, client: Client, reading: Sessions, days: int) -> None:
        self._client = client
        self._reading = reading
        self._days = days

    async def run(self) -> None:
        """Until cancelled; an outage only makes logs stay longer."""
        while True:
            try:
                await self.purge(datetime.now(UTC) - timedelta(days=self._days))
            except Unavailable as error:
                log.warning("logs.not_purged", extra={"error": str(error)})
            retrying.raise_if_cancelled()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def purge(self, before: datetime) -> None:
        """Take out the logs of executions that ended before. Raises `Unavailable`."""
        try:
            kept = await self._kept()
            for first in range(0, len(kept), _BATCH):
                for execution in await self._ended(kept[first : first + _BATCH], before):
                    await self._client.jetstream(timeout=bus.TIMEOUT_SECONDS).purge_stream(
                        subjects.EXECUTION_EVENTS, subject=subjects.events(execution)
                    )
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"cannot purge {subjects.EXECUTION_EVENTS}: {error}") from error

    async def _kept(self) -> Sequence[str]:
        """Executions that the stream has a log of."""
        info = await self._client.jetstream(timeout=bus.TIMEOUT_SECONDS).stream_info(
            subjects.EXECUTION_EVENTS, subjects_filter=subjects.ALL_EVENTS
        )
        return [subjects.name_of(subject) for subject in info.state.subjects or {}]

    async def _ended(self, executions: Sequence[str], before: datetime) -> Sequence[str]:
        """Those whose whole log is copied: before that, no row says that its execution ended."""
        ended = sa.and_(_ROW.phase.in_(ENDED), _ROW.updated_at < before)
        query = sa.select(_ROW.id).where(_ROW.id.in_(executions), ended)
        async with transaction(self._reading) as session:
            return list(await session.scalars(query))
