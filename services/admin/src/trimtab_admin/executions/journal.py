"""The copy of executions' logs: each event once, in whatever order and how often it comes."""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.messages import subjects
from trimtab.messages.executions import AnyEvent, Request, State, parse_event, replay
from trimtab.runtime import telemetry
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import Sessions, transaction

log = logging.getLogger(__name__)

_EVENTS = tables.execution_events.c
_BATCH = 64
"""Far below what can be handled within the time to acknowledge."""
_FETCH_SECONDS = 2.0
"""How long a fetch may be in vain, and so how soon a consumer that was made anew is heard."""


class Journal:
    """Stores what propellers append; one delivery is one transaction."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def subscribe(self, broker: NatsBroker) -> None:
        broker.subscriber(
            subjects.ALL_EVENTS,
            stream=JStream(subjects.EXECUTION_EVENTS, declare=False),
            durable=subjects.ADMIN,
            pull_sub=PullSub(batch_size=_BATCH, timeout=_FETCH_SECONDS),
            # The default would drop an event at the first exception.
            ack_policy=AckPolicy.NACK_ON_ERROR,
            no_reply=True,
        )(self.on_event)

    async def on_event(self, event: AnyEvent) -> None:
        """Store the event and what the log adds up to with it."""
        async with transaction(self._sessions) as session:
            row = tables.executions.c.id == event.execution
            # Where there is more than one admin, the log of one execution is added up by one.
            known = await session.scalar(sa.select(row).where(row).with_for_update())
            if not await _add(session, event):
                return
            events = await stored(session, event.execution)
            if known is None:
                await _restore_row(session, events)
            if projection := _projection(events):
                await session.execute(tables.executions.update().where(row), projection)


async def stored(session: AsyncSession, execution: str) -> list[AnyEvent]:
    """The events that are stored, in their order; one that is still on its way leaves a gap."""
    query = sa.select(_EVENTS.body).where(_EVENTS.execution == execution)
    bodies = await session.scalars(query.order_by(_EVENTS.index))
    return [parse_event(body) for body in bodies]


async def state_of(session: AsyncSession, execution: str) -> State:
    """What the stored log adds up to."""
    return replay(await stored(session, execution))


def new_row(request: Request, created_at: datetime) -> dict[str, object]:
    """An execution that nothing has happened to."""
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
    }


async def _add(session: AsyncSession, event: AnyEvent) -> bool:
    """Whether the event is new. The first one at a place of the log stays."""
    here = sa.and_(_EVENTS.execution == event.execution, _EVENTS.index == event.index)
    body = event.body().decode()
    before = await session.scalar(sa.select(_EVENTS.body).where(here))
    if before is None:
        row = {"execution": event.execution, "index": event.index, "body": body}
        await session.execute(tables.execution_events.insert(), row)
        return True
    if before != body:
        log.error("journal.fork", extra={"execution": event.execution, "index": event.index})
    return False


async def _restore_row(session: AsyncSession, events: Sequence[AnyEvent]) -> None:
    """The log outlives a database that was set back, and its first claim says what was asked."""
    request = replay(events).request
    if request is not None:
        await session.execute(tables.executions.insert(), new_row(request, events[0].at))


def _projection(events: Sequence[AnyEvent]) -> Mapping[str, object]:
    """Of the events before the first gap; empty where there are none."""
    state = replay(events)
    if not state.length:
        return {}
    return {
        "phase": state.phase,
        "output": json.dumps(state.output),
        "error": state.error,
        "updated_at": events[state.length - 1].at,
    }
