"""The projection of execution logs: a copy in SQL that serves reads and outlives the stream.

The projection stores each event once, in whatever order and however often it is delivered.
`trimtab_admin.executions.retention` removes the logs of ended executions.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import nats.errors
import sqlalchemy as sa
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.annotations import NatsMessage
from nats.aio.client import Client
from pydantic import ValidationError
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from trimtab import models
from trimtab.errors import Rejected, Retryable, Unavailable
from trimtab.messages import subjects
from trimtab.messages.executions import AnyEvent, Owned, Request, parse_event
from trimtab.runtime import bus, telemetry
from trimtab_admin.executions import states
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import Sessions, run_in_transaction, transaction

log = logging.getLogger(__name__)

_EVENTS = tables.execution_events.c
_POSITION = {
    "execution": sa.bindparam("of_execution", type_=sa.String),
    "index": sa.bindparam("of_index", type_=sa.Integer),
}
_FIND = sa.select(_EVENTS.body).where(*(_EVENTS[name] == each for name, each in _POSITION.items()))
_INSERT = {
    dialect.name: insert(tables.execution_events)
    .values({**_POSITION, "body": sa.bindparam("of_body", type_=sa.Text)})
    .on_conflict_do_nothing()
    for dialect, insert in (
        (sqlite.dialect, sqlite.insert),
        (postgresql.dialect, postgresql.insert),
    )
}
"""The insertion of an event by dialect, without effect if the log has one at its index."""
_FETCH_BATCH = 64
"""How many events are fetched at once: far fewer than can be stored before they are redelivered."""
_FETCH_SECONDS = 2.0
"""How long a fetch waits for an event, and so how soon a recreated consumer is used."""
_CATCH_UP_SECONDS = 600.0
"""How often logs are searched for events that were not applied."""


async def _ignore(_execution: str) -> None:
    pass


class Projection:
    """Stores the events that propellers append; each delivery is one transaction."""

    def __init__(
        self, sessions: Sessions, on_stored: Callable[[str], Awaitable[None]] = _ignore
    ) -> None:
        """``on_stored`` is called with the execution of each event that was stored."""
        self._sessions = sessions
        self._on_stored = on_stored

    def subscribe(self, broker: NatsBroker) -> None:
        broker.subscriber(
            subjects.ALL_EVENTS,
            stream=JStream(subjects.EXECUTION_EVENTS, declare=False),
            durable=subjects.ADMIN,
            pull_sub=PullSub(batch_size=_FETCH_BATCH, timeout=_FETCH_SECONDS),
            # The default would drop an event at the first exception.
            ack_policy=AckPolicy.NACK_ON_ERROR,
            no_reply=True,
        )(self.on_delivery)

    async def on_delivery(self, event: AnyEvent, message: NatsMessage) -> None:
        """Store the event. Raises `Rejected` where it is not of the log that has the subject."""
        subject = message.raw_message.subject
        if subjects.logged_execution(subject) != event.execution:
            raise Rejected(f"it is an event of execution {event.execution!r}")
        await self.on_event(event)

    async def on_event(self, event: AnyEvent) -> None:
        """Store the event, and the state that results from the log with it."""
        is_stored, is_more = await run_in_transaction(
            self._sessions, lambda connection: _store(connection, event)
        )
        if is_more:
            await _apply_stored(self._sessions, event.execution)
        if is_stored:
            await self._on_stored(event.execution)


class CatchUp:
    """Applies stored events that no projection has applied.

    These are the logs that an earlier release stored, also while it runs beside this one, and those
    of a projection that was deleted. Several may run at once.
    """

    def __init__(self, sessions: Sessions, reading: Sessions) -> None:
        self._sessions = sessions
        self._reading = reading

    async def run(self) -> None:
        """Run until cancelled; readers of an execution do not depend on it."""
        while True:
            try:
                await self.apply()
            except Retryable as error:
                log.warning("projection.catch_up_failed", extra={"error": str(error)})
            await asyncio.sleep(_CATCH_UP_SECONDS)

    async def apply(self) -> None:
        """Apply all stored events of all executions, a few at a time. Raises `Retryable`."""
        last = ""
        while True:
            async with transaction(self._reading) as session:
                lagging, last = await states.lagging(session, last, states.SLICE)
            for execution in lagging:
                await _apply_stored(self._sessions, execution)
            if not last:
                return
            await asyncio.sleep(0)


async def stored_until(client: Client) -> datetime:
    """Return until when the database has all events of the stream. Raises `Unavailable`."""
    now, jetstream = datetime.now(UTC), client.jetstream(timeout=bus.TIMEOUT_SECONDS)
    try:
        info = await jetstream.consumer_info(subjects.EXECUTION_EVENTS, subjects.ADMIN)
        if not info.num_pending and not info.num_ack_pending:
            return now
        stored = info.ack_floor.stream_seq if info.ack_floor else 0
        first = await jetstream.get_msg(
            subjects.EXECUTION_EVENTS, seq=stored + 1, subject=subjects.ALL_EVENTS, next=True
        )
    except (nats.errors.Error, TimeoutError) as error:
        raise Unavailable(f"cannot read {subjects.EXECUTION_EVENTS}: {error}") from error
    return first.time or datetime.fromtimestamp(0, UTC)


async def _apply_stored(sessions: Sessions, execution: str) -> None:
    """Apply the stored events of a log, each slice in a transaction: other writers do not wait."""

    def apply(connection: Connection) -> bool:
        checkpoint = states.lock(connection, execution)
        return checkpoint is not None and states.move(connection, checkpoint)

    while await run_in_transaction(sessions, apply):
        await asyncio.sleep(0)


def new_row(request: Request, created_at: datetime) -> dict[str, object]:
    """Return the row of an execution without events."""
    return {
        "id": request.execution,
        "project": request.project,
        "domain": request.domain,
        "workflow": request.workflow.name,
        "version": request.workflow.version,
        "launch_plan": request.launch_plan.name,
        "request": request.model_dump_json(),
        "created_at": created_at,
        "traceparent": telemetry.traceparent(),
        "phase": "requested",
        "output": "null",
        "error": "",
        "updated_at": created_at,
        "inputs": json.dumps(request.inputs),
    }


def parse_request(body: str) -> Request | str:
    """Return the request in a row, or why this release cannot read it."""
    try:
        return models.read(Request, body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _store(connection: Connection, event: AnyEvent) -> tuple[bool, bool]:
    """Store an event, and the state with it. Return whether it was new, and whether there is more.

    More stored events are to be applied where there may be a further slice of them.
    """
    # The lock lets several admins move the state of one execution only one by one.
    checkpoint = states.lock(connection, event.execution)
    if checkpoint is not None and checkpoint.is_log_deleted:
        return False, False
    if not _add(connection, event):
        return False, False
    if checkpoint is None and _restore_row(connection, event):
        checkpoint = states.lock(connection, event.execution)
    return True, checkpoint is not None and states.move(connection, checkpoint, event)


def _add(connection: Connection, event: AnyEvent) -> bool:
    """Insert the event; return false if the log has an event at this index already."""
    position = {"of_execution": event.execution, "of_index": event.index}
    row = {**position, "of_body": event.body().decode()}
    if connection.execute(_INSERT[connection.dialect.name], row).rowcount:
        return True
    stored: str = connection.execute(_FIND, position).scalar_one()
    # Compared as events, because an event of an older release is written with other names.
    if parse_event(stored) != event:
        extra = {"execution": event.execution, "index": event.index}
        log.error("projection.conflicting_event", extra=extra)
    return False


def _restore_row(connection: Connection, event: AnyEvent) -> bool:
    """Insert the row of an execution that a restored database lacks; return whether it could.

    The first claim in the log carries the request.
    """
    if not isinstance(event, Owned) or event.request is None:
        return False
    connection.execute(tables.executions.insert(), new_row(event.request, event.at))
    return True
