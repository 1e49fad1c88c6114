"""The projected state of an execution: a checkpoint of its log in SQL, and how it is moved on.

The log in ``execution_events`` is the source. ``execution_states`` holds the state after so many
events, and ``execution_nodes`` that of each node. A checkpoint that is missing, or was made by
other rules, only costs reading the log from its start.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.messages.executions import (
    Admitted,
    AnyEvent,
    NodeState,
    State,
    node_of,
    parse_event,
)
from trimtab.messages.resolutions import Resolution
from trimtab_admin import slices
from trimtab_admin.storage import tables

RULES = 1
"""The rules by which a log gives a state. A release that reads a log otherwise has another number,
and applies logs again that were applied by other rules."""
SLICE = 200
"""How many events or nodes are read at once."""

_ROW = tables.executions.c
_STATE = tables.execution_states.c
_EVENT = tables.execution_events.c
_NODE = tables.execution_nodes.c
_STATE_BODY: TypeAdapter[State] = TypeAdapter(State)
_APART = {"nodes", "request", "resolution"}
"""Fields of a state that are stored elsewhere."""
_NODE_STATE: TypeAdapter[NodeState] = TypeAdapter(NodeState)


@dataclass
class Checkpoint:
    """The state of an execution after the events that were applied."""

    state: State
    """Its nodes are only those that were read."""
    updated_at: datetime | None = None
    """When the last of the events was appended."""
    resolution_index: int | None = None
    """The index of the event with the resolution; ``None`` before the admission."""
    is_log_deleted: bool = False
    """Whether the database holds the log no longer, so that this is all that is known."""
    is_stored: bool = False
    """Whether there is a row of it."""
    stored_nodes: set[str] = field(default_factory=set)
    """Nodes that have a row."""
    is_phase_changed: bool = False
    """Whether the phase may be another one than that in the row of the execution."""

    def apply(self, event: AnyEvent) -> None:
        before = self.state.phase, self.state.error
        self.state.apply(event)
        self.is_phase_changed |= self.state.ended or before != (self.state.phase, self.state.error)
        self.updated_at = event.at
        if isinstance(event, Admitted):
            self.resolution_index = event.index


async def lock(session: AsyncSession, execution: str) -> Checkpoint | None:
    """Return the checkpoint for as long as no other transaction can move it.

    ``None`` if there is no such execution. One that cannot be used is deleted, and the first one
    returned.
    """
    query = sa.select(_ROW.phase, _ROW.error).where(_ROW.id == execution).with_for_update()
    row = (await session.execute(query)).one_or_none()
    if row is None:
        return None
    checkpoint = await _checkpoint(session, execution)
    # An earlier transaction may have applied only a part of the log.
    checkpoint.is_phase_changed = (row.phase, row.error) != _phase_of(checkpoint.state)
    if not checkpoint.is_stored:
        await session.execute(tables.execution_nodes.delete().where(_NODE.execution == execution))
        state = tables.execution_states.delete().where(_STATE.execution == execution)
        await session.execute(state)
    return checkpoint


async def move(
    session: AsyncSession, checkpoint: Checkpoint, appended: AnyEvent | None = None
) -> bool:
    """Apply the next stored events, at most `SLICE`, and store the checkpoint.

    ``appended`` is one of them that need not be parsed again. Return whether there may be more.
    """
    state = checkpoint.state
    if checkpoint.is_log_deleted:
        return False
    found = await _next_events(session, state.execution, state.length, appended)
    if found:
        touched = {node for event in found if (node := node_of(event)) is not None}
        await _read_nodes(session, checkpoint, touched)
        for event in found:
            checkpoint.apply(event)
        await _store(session, checkpoint, touched)
    is_more = len(found) == SLICE
    # In between, the row would show a phase that the execution left long ago.
    if checkpoint.is_phase_changed and state.length and not is_more:
        await _store_phase(session, checkpoint)
        checkpoint.is_phase_changed = False
    return is_more


async def read(session: AsyncSession, execution: str) -> State:
    """Return the state after all stored events up to the first gap, except for the request.

    In the ordinary case they are all applied, and only the resolution is parsed.
    """
    checkpoint = await _checkpoint(session, execution)
    state = checkpoint.state
    if checkpoint.is_stored:
        await _read_all_nodes(session, checkpoint)
    if not checkpoint.is_log_deleted:
        while events := await _next_events(session, execution, state.length, None):
            for event in events:
                checkpoint.apply(event)
    if state.resolution is None and checkpoint.resolution_index is not None:
        state.resolution = await _resolution(session, execution, checkpoint.resolution_index)
    return state


async def lagging(session: AsyncSession, after: str, limit: int) -> tuple[Sequence[str], str]:
    """Return executions whose log holds an event that is not applied.

    It searches so many executions whose ids follow ``after``, and returns the last of these ids
    too; it is empty if there are no more.
    """
    states = tables.execution_states
    query = sa.select(_ROW.id, _STATE.log_length, _STATE.rules, _STATE.log_deleted_at)
    query = query.outerjoin_from(tables.executions, states, _STATE.execution == _ROW.id)
    query = query.where(_ROW.id > after).order_by(_ROW.id).limit(limit)
    rows = (await session.execute(query)).all()
    following = [
        (id_, length if rules == RULES else 0)
        for id_, length, rules, deleted_at in rows
        if deleted_at is None
    ]
    key = sa.tuple_(_EVENT.execution, _EVENT.index)
    found = await session.scalars(sa.select(_EVENT.execution).where(key.in_(following)))
    return list(found), rows[-1][0] if len(rows) == limit else ""


async def stored_events(session: AsyncSession, execution: str) -> list[AnyEvent]:
    """Return the stored events in the order of the log; an event not yet delivered is a gap."""
    query = sa.select(_EVENT.body).where(_EVENT.execution == execution)
    bodies = await session.scalars(query.order_by(_EVENT.index))
    return [parse_event(body) for body in bodies]


async def _checkpoint(session: AsyncSession, execution: str) -> Checkpoint:
    """Return the stored checkpoint, or the one before the first event if it cannot be used."""
    query = sa.select(tables.execution_states).where(_STATE.execution == execution)
    row = (await session.execute(query)).mappings().one_or_none()
    # Of a log that was deleted, there is nothing else.
    if row is None or (row["rules"] != RULES and row["log_deleted_at"] is None):
        return Checkpoint(State(execution=execution))
    state = _STATE_BODY.validate_json(row["body"])
    return Checkpoint(
        state,
        row["updated_at"],
        row["resolution_index"],
        is_log_deleted=row["log_deleted_at"] is not None,
        is_stored=True,
    )


async def _next_events(
    session: AsyncSession, execution: str, length: int, appended: AnyEvent | None
) -> list[AnyEvent]:
    """Return the stored events from an index to the first gap, at most `SLICE`."""
    query = sa.select(_EVENT.index, _EVENT.body).where(
        _EVENT.execution == execution, _EVENT.index >= length, _EVENT.index < length + SLICE
    )
    events: list[AnyEvent] = []
    for index, body in (await session.execute(query.order_by(_EVENT.index))).all():
        if index != length + len(events):
            break
        is_appended = appended is not None and index == appended.index
        events.append(appended if appended is not None and is_appended else parse_event(body))
    return events


async def _read_nodes(session: AsyncSession, checkpoint: Checkpoint, nodes: Iterable[str]) -> None:
    """Read the nodes into the state."""
    query = _nodes_of(checkpoint).where(_NODE.node.in_(sorted(nodes)))
    _take_nodes(checkpoint, await session.execute(query))


async def _read_all_nodes(session: AsyncSession, checkpoint: Checkpoint) -> None:
    """Read all nodes into the state, in slices."""
    found = await session.stream(_nodes_of(checkpoint))
    async for rows in found.partitions(SLICE):
        await slices.turn()
        _take_nodes(checkpoint, rows)


def _nodes_of(checkpoint: Checkpoint) -> sa.Select[str, str]:
    execution = checkpoint.state.execution
    return sa.select(_NODE.node, _NODE.body).where(_NODE.execution == execution)


def _take_nodes(checkpoint: Checkpoint, rows: Iterable[sa.Row[str, str]]) -> None:
    for node, body in rows:
        checkpoint.state.nodes[node] = _NODE_STATE.validate_json(body)
        checkpoint.stored_nodes.add(node)


async def _store(session: AsyncSession, checkpoint: Checkpoint, nodes: Collection[str]) -> None:
    """Store the checkpoint and the nodes that have changed."""
    state = checkpoint.state
    row = {
        "log_length": state.length,
        "rules": RULES,
        "phase": state.phase,
        "body": _STATE_BODY.dump_json(state, exclude=_APART).decode(),
        "resolution_index": checkpoint.resolution_index,
        "updated_at": checkpoint.updated_at,
    }
    if checkpoint.is_stored:
        update = tables.execution_states.update().where(_STATE.execution == state.execution)
        await session.execute(update.values(row))
    else:
        row["execution"] = state.execution
        await session.execute(tables.execution_states.insert(), row)
        checkpoint.is_stored = True
    for node in nodes:
        await _store_node(session, checkpoint, node)


async def _store_node(session: AsyncSession, checkpoint: Checkpoint, node: str) -> None:
    execution, state = checkpoint.state.execution, checkpoint.state.nodes[node]
    row = {"phase": state.phase, "body": _NODE_STATE.dump_json(state).decode()}
    if node in checkpoint.stored_nodes:
        key = sa.and_(_NODE.execution == execution, _NODE.node == node)
        await session.execute(tables.execution_nodes.update().where(key).values(row))
    else:
        row |= {"execution": execution, "node": node}
        await session.execute(tables.execution_nodes.insert(), row)
        checkpoint.stored_nodes.add(node)


async def _store_phase(session: AsyncSession, checkpoint: Checkpoint) -> None:
    state = checkpoint.state
    update = tables.executions.update().where(_ROW.id == state.execution)
    phase, error = _phase_of(state)
    await session.execute(
        update.values(
            phase=phase,
            output=json.dumps(state.output),
            error=error,
            updated_at=checkpoint.updated_at,
        )
    )


def _phase_of(state: State) -> tuple[str, str]:
    """Return phase and error as the row has them: PostgreSQL stores no text with NUL."""
    return state.phase, state.error.replace("\0", "\N{REPLACEMENT CHARACTER}")


async def _resolution(session: AsyncSession, execution: str, index: int) -> Resolution | None:
    """Return the resolution in the event at an index."""
    query = sa.select(_EVENT.body).where(_EVENT.execution == execution, _EVENT.index == index)
    body = await session.scalar(query)
    event = None if body is None else parse_event(body)
    return event.resolution if isinstance(event, Admitted) else None
