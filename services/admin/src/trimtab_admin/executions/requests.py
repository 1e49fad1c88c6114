"""Publishes the request of every unfinished execution in the streams that exist now.

Streams that were deleted and recreated have lost requests and logs. Each row records in which
streams its execution was requested, so a recreated stream is noticed whenever it happened. The log
is then restored from the projection before the request is published, because a propeller that
found an empty log would start the execution from its beginning.
"""

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from typing import NamedTuple

import nats.errors
import nats.js.errors
import sqlalchemy as sa
from nats.aio.client import Client
from opentelemetry.trace import SpanKind

from trimtab.errors import Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import TRACEPARENT
from trimtab.messages.executions import ENDED, AnyEvent, ExecutionRequested, Request, logged_event
from trimtab.runtime import bus, retrying, tasks, telemetry
from trimtab_admin.executions.projection import parse_request
from trimtab_admin.executions.states import stored_events
from trimtab_admin.messaging import streams
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import Sessions, transaction

log = logging.getLogger(__name__)

_POLL_SECONDS = 2.0
"""How soon a recreated stream, or an execution that another admin created, is noticed."""
_BATCH = 100
_ROW = tables.executions.c


class _PendingRequest(NamedTuple):
    """An execution that was not requested in the streams that exist now."""

    request: Request
    traceparent: str
    """The trace in which the execution was created."""
    requested_in: str
    """The earlier streams, or the mark of a resync; empty if it was never requested."""


class Requester:
    """Publishes requests. Several may run on one database, because duplicates are harmless."""

    def __init__(self, client: Client, sessions: Sessions, reading: Sessions) -> None:
        self._client = client
        self._sessions = sessions
        self._reading = reading
        self._awake = asyncio.Event()

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
            identity = await self._streams_identity()
            while pending := await self._pending_requests(identity):
                for each in pending:
                    await self._publish(each, identity)
            try:
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._awake.wait()
            except TimeoutError:
                continue

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

    async def _pending_requests(self, identity: str) -> list[_PendingRequest]:
        elsewhere = sa.or_(_ROW.requested_in.is_(None), _ROW.requested_in != identity)
        columns = (_ROW.id, _ROW.request, _ROW.traceparent, _ROW.requested_in)
        query = sa.select(*columns).where(elsewhere, _ROW.phase.not_in(ENDED))
        async with transaction(self._reading) as session:
            rows = await session.execute(query.order_by(_ROW.created_at).limit(_BATCH))
            found = [(id_, parse_request(body), *rest) for id_, body, *rest in rows]
        await self._end_unreadable({id_: r for id_, r, *_ in found if isinstance(r, str)})
        return [
            _PendingRequest(request, trace, requested_in or "")
            for _, request, trace, requested_in in found
            if isinstance(request, Request)
        ]

    async def _end_unreadable(self, problems: Mapping[str, str]) -> None:
        """End the executions whose stored request this release cannot read: none can run them."""
        for execution, problem in problems.items():
            error = f"the request of {execution} cannot be read by this release: {problem}"
            log.error("requester.unreadable", extra={"execution": execution, "error": error})
            update = tables.executions.update().where(_ROW.id == execution)
            async with transaction(self._sessions) as session:
                await session.execute(update.values(phase="failed", error=error))

    async def _publish(self, pending: _PendingRequest, identity: str) -> None:
        request, traceparent, requested_in = pending
        await self._restore_log(request.execution)
        occasion = hashlib.blake2b(f"{requested_in} {identity}".encode(), digest_size=4).hexdigest()
        carrier = {TRACEPARENT: traceparent} if traceparent else None
        with telemetry.span("publish trimtab.executions", carrier, SpanKind.PRODUCER):
            await bus.publish(
                self._client,
                subjects.EXECUTIONS,
                subjects.requested(request.domain, request.project),
                ExecutionRequested(request=request),
                # The same id on the same occasion: after a crash before the update below, the
                # server drops the second message.
                event_id=f"{request.execution}-{occasion}",
            )
        # If a resync has set another mark meanwhile, the execution stays pending.
        unchanged = _ROW.requested_in.is_not_distinct_from(requested_in or None)
        update = tables.executions.update().where(_ROW.id == request.execution, unchanged)
        async with transaction(self._sessions) as session:
            await session.execute(update.values(requested_in=identity))

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
