"""Sees to it that every unfinished execution is requested in the streams that there are now.

Streams that were made anew have lost requests and logs. Each row says in which streams it was
requested, so that a wipe is noticed whenever it happened; then the log is put back from the copy
first, because a propeller that found it empty would start the execution from its beginning.
"""

import asyncio
import hashlib
import logging
from typing import NamedTuple

import nats.errors
import nats.js.errors
import sqlalchemy as sa
from nats.aio.client import Client
from opentelemetry.trace import SpanKind

from trimtab.errors import Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import TRACEPARENT
from trimtab.messages.executions import ENDED, AnyEvent, ExecutionRequested, Request, parse_event
from trimtab.runtime import bus, retrying, telemetry
from trimtab_admin.executions import journal
from trimtab_admin.storage import streams, tables
from trimtab_admin.storage.database import Sessions, transaction

log = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
"""How soon a wiped server, or an execution of another admin, is noticed."""
_BATCH = 100
_ROW = tables.executions.c


class _Unrequested(NamedTuple):
    """An execution that is not requested in the streams that there are now."""

    request: Request
    traceparent: str
    """Of the trace that it was created in."""
    before: str
    """Where it was requested last, or what asks to request it again; empty where it never was."""


class Requester:
    """Publishes requests; any number may run on one database, because duplicates are harmless."""

    def __init__(self, client: Client, sessions: Sessions, reading: Sessions) -> None:
        self._client = client
        self._sessions = sessions
        self._reading = reading
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """There are new executions, or other streams."""
        self._awake.set()

    async def run(self) -> None:
        """Request until cancelled; an outage only makes executions wait."""
        await retrying.retry_forever(self._request, "requester.lost")

    async def _request(self) -> None:
        while True:
            retrying.raise_if_cancelled()
            self._awake.clear()
            made = await self._made()
            while requests := await self._unrequested(made):
                for unrequested in requests:
                    await self._request_one(unrequested, made)
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._awake.wait()
            except TimeoutError:
                continue

    async def _made(self) -> str:
        """When the two streams were made: their identity. Makes what is missing."""
        jetstream = self._client.jetstream(timeout=bus.TIMEOUT_SECONDS)
        try:
            requests = await jetstream.stream_info(subjects.EXECUTIONS)
            logs = await jetstream.stream_info(subjects.EXECUTION_EVENTS)
            await jetstream.consumer_info(subjects.EXECUTION_EVENTS, subjects.ADMIN)
        except nats.js.errors.NotFoundError as error:
            await streams.bootstrap(self._client)
            raise Unavailable("streams were missing and have been made") from error
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"cannot look at the streams of executions: {error}") from error
        return f"{requests.created} {logs.created}"

    async def _unrequested(self, made: str) -> list[_Unrequested]:
        elsewhere = sa.or_(_ROW.requested_in.is_(None), _ROW.requested_in != made)
        columns = (_ROW.request, _ROW.traceparent, _ROW.requested_in)
        query = sa.select(*columns).where(elsewhere, _ROW.phase.not_in(ENDED))
        async with transaction(self._reading) as session:
            rows = await session.execute(query.order_by(_ROW.created_at).limit(_BATCH))
            return [
                _Unrequested(Request.model_validate_json(body), trace, before or "")
                for body, trace, before in rows
            ]

    async def _request_one(self, unrequested: _Unrequested, made: str) -> None:
        request, traceparent, before = unrequested
        await self._restore_log(request.execution)
        occasion = hashlib.blake2b(f"{before} {made}".encode(), digest_size=4).hexdigest()
        carrier = {TRACEPARENT: traceparent} if traceparent else None
        with telemetry.span("publish trimtab.executions", carrier, SpanKind.PRODUCER):
            await bus.publish(
                self._client,
                subjects.EXECUTIONS,
                subjects.requested(request.domain, request.project),
                ExecutionRequested(request=request),
                # The same on the same occasion, so that a crash before the mark doubles nothing.
                event_id=f"{request.execution}-{occasion}",
            )
        # Unless a resync has asked for another request meanwhile.
        as_it_was = _ROW.requested_in.is_not_distinct_from(before or None)
        mark = tables.executions.update().where(_ROW.id == request.execution, as_it_was)
        async with transaction(self._sessions) as session:
            await session.execute(mark.values(requested_in=made))

    async def _restore_log(self, execution: str) -> None:
        """Append what the subject lacks of the stored log."""
        async with transaction(self._reading) as session:
            rows = await journal.stored(session, execution)
        lacking = [event for place, event in enumerate(rows) if event.index == place]
        if not lacking:
            return
        length, last = await self._end_of(execution)
        lacking = lacking[length:]
        for event in lacking:
            try:
                last = await self._append(event, last)
            except bus.WrongSequence:
                # Another admin puts it back at this moment, or a propeller goes on with it.
                return
        if lacking:
            extra = {"execution": execution, "events": len(lacking)}
            log.warning("requester.log_restored", extra=extra)

    async def _end_of(self, execution: str) -> tuple[int, int]:
        """How many events the subject holds, and the sequence of the last one."""
        jetstream = self._client.jetstream(timeout=bus.TIMEOUT_SECONDS)
        subject = subjects.events(execution)
        try:
            message = await jetstream.get_last_msg(subjects.EXECUTION_EVENTS, subject)
        except nats.js.errors.NotFoundError:
            return 0, 0
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"cannot read the log of {execution}: {error}") from error
        return parse_event(message.data or b"").index + 1, message.seq or 0

    async def _append(self, event: AnyEvent, last: int) -> int:
        subject = subjects.events(event.execution)
        return await bus.publish(
            self._client,
            subjects.EXECUTION_EVENTS,
            subject,
            event,
            last_subject_sequence=last,
        )
