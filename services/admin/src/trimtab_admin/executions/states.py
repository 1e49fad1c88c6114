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
from sqlalchemy.engine import Connection
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

RULES = 2
"""The rules by which a log gives a state. A release that reads a log otherwise has another number,
and applies logs again that were applied by other rules."""
SLICE = 200
"""How many events or nodes are read at once."""

_ROW = tables.executions.c
_STATE = tables.execution_states.c
_EVENT = tables.execution_events.c
_NODE = tables.execution_nodes.c
# Building a statement takes longer than executing it, so those of each event are built once. A name
# in a condition must not be that of a column that the statement sets.
_OF_EXECUTION = sa.bindparam("of_execution", type_=sa.String)
_LOCK = (
    sa.select(_ROW.phase, _ROW.error).where(_ROW.id == sa.bindparam("execution")).with_for_update()
)
_CHECKPOINT = sa.select(tables.execution_states).where(
    _STATE.execution == sa.bindparam("execution")
)
_EVENTS = (
    sa.select(_EVENT.index, _EVENT.body)
    .where(
        _EVENT.execution == sa.bindparam("execution"),
        _EVENT.index >= sa.bindparam("first"),
        _EVENT.index < sa.bindparam("end"),
    )
    .order_by(_EVENT.index)
)
_ALL_NODES = sa.select(_NODE.node, _NODE.body).where(_NODE.execution == sa.bindparam("execution"))
_NODES = _ALL_NODES.where(_NODE.node.in_(sa.bindparam("nodes", expanding=True)))
_MOVED = {
    column.name: sa.bindparam(column.name, type_=column.type)
    for column in (
        _STATE.log_length,
        _STATE.rules,
        _STATE.phase,
        _STATE.body,
        _STATE.resolution_index,
        _STATE.updated_at,
    )
}
_UPDATE_STATE = (
    tables.execution_states.update().where(_STATE.execution == _OF_EXECUTION).values(_MOVED)
)
_INSERT_STATE = tables.execution_states.insert().values({**_MOVED, "execution": _OF_EXECUTION})
_OF_NODE = sa.bindparam("of_node", type_=sa.Text)
_CHANGED = {name: sa.bindparam(name, type_=_NODE[name].type) for name in ("phase", "body")}
_UPDATE_NODE = (
    tables.execution_nodes.update()
    .where(_NODE.execution == _OF_EXECUTION, _NODE.node == _OF_NODE)
    .values(_CHANGED)
)
_INSERT_NODE = tables.execution_nodes.insert().values(
    {**_CHANGED, "execution": _OF_EXECUTION, "node": _OF_NODE}
)
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


def lock(connection: Connection, execution: str) -> Checkpoint | None:
    """Return the checkpoint for as long as no other transaction can move it.

    ``None`` if there is no such execution. One that cannot be used is deleted, and the first one
    returned.
    """
    row = connection.execute(_LOCK, {"execution": execution}).one_or_none()
    if row is None:
        return None
    checkpoint = _checkpoint(connection, execution)
    # An earlier transaction may have applied only a part of the log.
    checkpoint.is_phase_changed = (row.phase, row.error) != _phase_of(checkpoint.state)
    if not checkpoint.is_stored:
        connection.execute(tables.execution_nodes.delete().where(_NODE.execution == execution))
        state = tables.execution_states.delete().where(_STATE.execution == execution)
        connection.execute(state)
    return checkpoint


def move(connection: Connection, checkpoint: Checkpoint, appended: AnyEvent | None = None) -> bool:
    """Apply the next stored events, at most `SLICE`, and store the checkpoint.

    ``appended`` is one of them that need not be parsed again. Return whether there may be more.
    """
    state = checkpoint.state
    if checkpoint.is_log_deleted:
        return False
    found = _next_events(connection, state.execution, state.length, appended)
    if found:
        touched = {node for event in found if (node := node_of(event)) is not None}
        if touched:
            _read_nodes(connection, checkpoint, touched)
        for event in found:
            checkpoint.apply(event)
        _store(connection, checkpoint, touched)
    is_more = len(found) == SLICE
    # In between, the row would show a phase that the execution left long ago.
    if checkpoint.is_phase_changed and state.length and not is_more:
        _store_phase(connection, checkpoint)
        checkpoint.is_phase_changed = False
    return is_more


async def read(session: AsyncSession, execution: str) -> State:
    """Return the state after all stored events up to the first gap, except for the request.

    In the ordinary case they are all applied, and only the resolution is parsed. One that a blob
    has is not read.
    """
    connection = await session.connection()
    checkpoint = await connection.run_sync(_checkpoint, execution)
    state = checkpoint.state
    if checkpoint.is_stored:
        await _read_all_nodes(session, checkpoint)
    if not checkpoint.is_log_deleted:
        while events := await connection.run_sync(_next_events, execution, state.length, None):
            for event in events:
                checkpoint.apply(event)
            await slices.turn()
    if not state.is_admitted and checkpoint.resolution_index is not None:
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
    bodies = (await session.scalars(query.order_by(_EVENT.index))).all()
    return [parse_event(body) async for part in slices.of(bodies) for body in part]


def _checkpoint(connection: Connection, execution: str) -> Checkpoint:
    """Return the stored checkpoint, or the one before the first event if it cannot be used."""
    row = connection.execute(_CHECKPOINT, {"execution": execution}).mappings().one_or_none()
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


def _next_events(
    connection: Connection, execution: str, length: int, appended: AnyEvent | None
) -> list[AnyEvent]:
    """Return the stored events from an index to the first gap, at most `SLICE`."""
    wanted = {"execution": execution, "first": length, "end": length + SLICE}
    events: list[AnyEvent] = []
    for index, body in connection.execute(_EVENTS, wanted):
        if index != length + len(events):
            break
        is_appended = appended is not None and index == appended.index
        events.append(appended if appended is not None and is_appended else parse_event(body))
    return events


def _read_nodes(connection: Connection, checkpoint: Checkpoint, nodes: Iterable[str]) -> None:
    """Read the nodes into the state."""
    wanted = {"execution": checkpoint.state.execution, "nodes": sorted(nodes)}
    _take_nodes(checkpoint, connection.execute(_NODES, wanted).all())


async def _read_all_nodes(session: AsyncSession, checkpoint: Checkpoint) -> None:
    """Read all nodes into the state, in slices."""
    found = await session.stream(_ALL_NODES, {"execution": checkpoint.state.execution})
    async for rows in found.partitions(SLICE):
        await slices.turn()
        _take_nodes(checkpoint, rows)


def _take_nodes(checkpoint: Checkpoint, rows: Iterable[sa.Row[str, str]]) -> None:
    for node, body in rows:
        checkpoint.state.nodes[node] = _NODE_STATE.validate_json(body)
        checkpoint.stored_nodes.add(node)


def _store(connection: Connection, checkpoint: Checkpoint, nodes: Collection[str]) -> None:
    """Store the checkpoint and the nodes that have changed."""
    state = checkpoint.state
    row = {
        "of_execution": state.execution,
        "log_length": state.length,
        "rules": RULES,
        "phase": state.phase,
        "body": _STATE_BODY.dump_json(state, exclude=_APART).decode(),
        "resolution_index": checkpoint.resolution_index,
        "updated_at": checkpoint.updated_at,
    }
    connection.execute(_UPDATE_STATE if checkpoint.is_stored else _INSERT_STATE, row)
    checkpoint.is_stored = True
    for node in nodes:
        _store_node(connection, checkpoint, node)


def _store_node(connection: Connection, checkpoint: Checkpoint, node: str) -> None:
    execution, state = checkpoint.state.execution, checkpoint.state.nodes[node]
    row = {"phase": state.phase, "body": _NODE_STATE.dump_json(state).decode()}
    row |= {"of_execution": execution, "of_node": node}
    is_stored = node in checkpoint.stored_nodes
    connection.execute(_UPDATE_NODE if is_stored else _INSERT_NODE, row)
    checkpoint.stored_nodes.add(node)


def _store_phase(connection: Connection, checkpoint: Checkpoint) -> None:
    state = checkpoint.state
    update = tables.executions.update().where(_ROW.id == state.execution)
    phase, error = _phase_of(state)
    connection.execute(
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
