"""Publishes the request of every unfinished execution in the streams that exist now.

Streams that were deleted and recreated have lost requests and logs. Each row records in which
streams its execution was requested, so a recreated stream is noticed whenever it happened. The log
is then restored from the projection before the request is published, because a propeller that
found an empty log would start the execution from its beginning.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Container
from datetime import UTC, datetime
from typing import NamedTuple, get_args

import nats.errors
import nats.js.errors
import sqlalchemy as sa
from nats.aio.client import Client
from opentelemetry.trace import SpanKind

from trimtab.errors import Rejected, Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import TRACEPARENT
from trimtab.messages.executions import (
    ENDED,
    AnyEvent,
    ExecutionRequested,
    Phase,
    Request,
    logged_event,
)
from trimtab.runtime import bus, retrying, tasks, telemetry
from trimtab_admin.executions.projection import parse_request
from trimtab_admin.executions.states import stored_events
from trimtab_admin.messaging import streams
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import Sessions, transaction

log = logging.getLogger(__name__)

_POLL_SECONDS = 2.0
"""How soon a recreated stream, or an execution that another admin created, is noticed."""
_LONGEST_SECONDS = 60.0
"""The longest delay until a request that could not be published is tried again."""
_BATCH = 1000
_UNENDED = sorted(set(get_args(Phase)) - ENDED)
"""Phases to select by: an index finds them, but not what is in none of the others."""
_ROW = tables.executions.c


class _PendingRequest(NamedTuple):
    """An execution that was not requested in the streams that exist now."""

    execution: str
    traceparent: str
    """The trace in which the execution was created."""
    requested_in: str | None
    """The earlier streams, or the mark of a resync; ``None`` if it was never requested."""
    phase: Phase
    created_at: datetime


class _Postponed:
    """The requests that could not be published, and when each of them is tried again."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}
        self._next: dict[str, float] = {}

    def is_due(self, execution: str) -> bool:
        return time.monotonic() >= self._next.get(execution, 0.0)

    def record_failure(self, execution: str) -> None:
        failures = self._failures[execution] = self._failures.get(execution, 0) + 1
        pause = retrying.backoff_seconds(failures, first=_POLL_SECONDS, longest=_LONGEST_SECONDS)
        self._next[execution] = time.monotonic() + pause

    def keep(self, executions: Container[str]) -> None:
        """Forget those that are not among the executions: they need not be published any more."""
        for execution in [each for each in self._next if each not in executions]:
            del self._failures[execution], self._next[execution]


class Requester:
    """Publishes requests. Several may run on one database, because duplicates are harmless."""

    def __init__(self, client: Client, sessions: Sessions, reading: Sessions) -> None:
        self._client = client
        self._sessions = sessions
        self._reading = reading
        self._awake = asyncio.Event()
        self._postponed = _Postponed()

    def wake(self) -> None:
        """Look for executions soon: some are new, or a stream was recreated."""
        self._awake.set()

    async def run(self) -> None:
        """Run until cancelled; during an outage executions only wait longer."""
        await tasks.retry_forever(self._publish_pending, "requester.failed")

    async def _publish_pending(self) -> None:
        while True:
            retrying.raise_if_cancelled()
            self._awake.clear()
            await self._publish_all(await self._streams_identity())
            try:
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._awake.wait()
            except TimeoutError:
                continue

    async def _publish_all(self, identity: str) -> None:
        """Publish each pending request that can be published. Raises `Unavailable`."""
        last: _PendingRequest | None = None
        found: set[str] = set()
        while pending := await self._pending_requests(identity, last):
            for each in pending:
                if self._postponed.is_due(each.execution):
                    await self._try_to_publish(each, identity)
            found.update(each.execution for each in pending)
            last = pending[-1]
        self._postponed.keep(found)

    async def _try_to_publish(self, pending: _PendingRequest, identity: str) -> None:
        """Publish a request, or postpone it, so that it delays no other one."""
        try:
            await self._publish(pending, identity)
        except Exception as error:
            # While the streams do not answer, no request can be published.
            if await self._streams_identity() != identity:
                raise Unavailable("the streams were recreated") from error
            self._postponed.record_failure(pending.execution)
            fields = {"execution": pending.execution}
            tasks.report_failure("requester.request_failed", error, fields)

    async def _streams_identity(self) -> str:
        """Return when the two streams were created, which identifies them.

        A missing stream or consumer is created. Raises `Unavailable`, also in that case.
        """
        jetstream = self._client.jetstream(timeout=bus.TIMEOUT_SECONDS)
        try:
            requests = await jetstream.stream_info(subjects.EXECUTIONS)
            logs = await jetstream.stream_info(subjects.EXECUTION_EVENTS)
            await jetstream.consumer_info(subjects.EXECUTION_EVENTS, subjects.ADMIN)
        except nats.js.errors.NotFoundError as error:
            await streams.bootstrap(self._client)
            raise Unavailable("streams were missing and have been created") from error
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"cannot read the streams of executions: {error}") from error
        return f"{requests.created} {logs.created}"

    async def _pending_requests(
        self, identity: str, last: _PendingRequest | None
    ) -> list[_PendingRequest]:
        """Return the oldest pending requests that were created after the last one."""
        elsewhere = sa.or_(_ROW.requested_in.is_(None), _ROW.requested_in != identity)
        # Without the requests themselves: those that are postponed would be read again and again.
        columns = (_ROW.id, _ROW.traceparent, _ROW.requested_in)
        query = sa.select(*columns, _ROW.phase, _ROW.created_at)
        query = query.where(elsewhere, _ROW.phase.in_(_UNENDED))
        if last is not None:
            same_time = sa.and_(_ROW.created_at == last.created_at, _ROW.id > last.execution)
            query = query.where(sa.or_(_ROW.created_at > last.created_at, same_time))
        async with transaction(self._reading) as session:
            rows = await session.execute(query.order_by(_ROW.created_at, _ROW.id).limit(_BATCH))
            return [_PendingRequest(*row) for row in rows]

    async def _publish(self, pending: _PendingRequest, identity: str) -> None:
        unended = sa.and_(_ROW.id == pending.execution, _ROW.phase.in_(_UNENDED))
        async with transaction(self._reading) as session:
            body = await session.scalar(sa.select(_ROW.request).where(unended))
        if body is None:
            return  # It has ended since the list was read.
        request = parse_request(body)
        if isinstance(request, str):
            await self._end_unreadable(pending.execution, request)
            return
        await self._restore_log(request.execution)
        await self._store(request, pending, identity)
        # If a resync has set another mark meanwhile, the execution stays pending.
        unchanged = _ROW.requested_in.is_not_distinct_from(pending.requested_in)
        update = tables.executions.update().where(_ROW.id == request.execution, unchanged)
        async with transaction(self._sessions) as session:
            await session.execute(update.values(requested_in=identity))

    async def _store(self, request: Request, pending: _PendingRequest, identity: str) -> None:
        """Store the request in the stream."""
        occasion = f"{pending.requested_in or ''} {identity}".encode()
        number = hashlib.blake2b(occasion, digest_size=4).hexdigest()
        carrier = {TRACEPARENT: pending.traceparent} if pending.traceparent else None
        with telemetry.span("publish trimtab.executions", carrier, SpanKind.PRODUCER):
            await bus.publish(
                self._client,
                subjects.EXECUTIONS,
                subjects.requested(request.domain, request.project),
                ExecutionRequested(request=request),
                # The same id on the same occasion: after a crash before the row is updated, the
                # server drops the second message.
                event_id=f"{request.execution}-{number}",
            )

    async def _end_unreadable(self, execution: str, problem: str) -> None:
        """End an execution that waits with a request that this release cannot read.

        Raises `Rejected` where it is running: its owner has the request in its log.
        """
        error = f"the request of {execution} cannot be read by this release: {problem}"
        waits = sa.and_(_ROW.id == execution, _ROW.phase == "requested")
        failed = {"phase": "failed", "error": error, "updated_at": datetime.now(UTC)}
        async with transaction(self._sessions) as session:
            row = tables.executions.update().where(waits).values(failed).returning(_ROW.id)
            is_ended = await session.scalar(row) is not None
        if not is_ended:
            raise Rejected(error)
        log.error("requester.unreadable", extra={"execution": execution, "error": error})

    async def _restore_log(self, execution: str) -> None:
        """Append the stored events that the subject of the execution lacks."""
        async with transaction(self._reading) as session:
            events = await stored_events(session, execution)
        # Only events before the first gap.
        missing = [event for index, event in enumerate(events) if event.index == index]
        if not missing:
            return
        length, sequence = await self._log_end(execution)
        missing = missing[length:]
        for event in missing:
            try:
                sequence = await self._append(event, sequence)
            except bus.WrongSequence:
                # Another admin restores the log at this moment, or a propeller appends to it.
                return
        if missing:
            extra = {"execution": execution, "events": len(missing)}
            log.warning("requester.log_restored", extra=extra)

    async def _log_end(self, execution: str) -> tuple[int, int]:
        """Return how many events the subject has, and the sequence of its last message; 0 if none.

        Foreign messages are no events.
        """
        jetstream = self._client.jetstream(timeout=bus.TIMEOUT_SECONDS)
        subject = subjects.events(execution)
        try:
            message = await jetstream.get_last_msg(subjects.EXECUTION_EVENTS, subject)
        except nats.js.errors.NotFoundError:
            return 0, 0
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"cannot read the log of {execution}: {error}") from error
        last, sequence = logged_event(subject, message.data or b""), message.seq or 0
        if last is None:
            stored = await bus.read_all(self._client, subjects.EXECUTION_EVENTS, subject)
            events = [logged_event(each.subject, each.body) for each in stored]
            last = next((event for event in reversed(events) if event is not None), None)
        return 0 if last is None else last.index + 1, sequence

    async def _append(self, event: AnyEvent, last_sequence: int) -> int:
        return await bus.publish(
            self._client,
            subjects.EXECUTION_EVENTS,
            subjects.events(event.execution),
            event,
            last_subject_sequence=last_sequence,
        )
