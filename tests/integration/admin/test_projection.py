"""The projection: one event costs one event, and the log is all that it is made of."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy.engine import Connection

from tests.databases import BOTH
from tests.integration.admin.logs import events_of, long_log
from trimtab.messages.executions import AnyEvent, Failed, Owned, Request, replay
from trimtab.testing import request
from trimtab_admin import migrations
from trimtab_admin.executions import states
from trimtab_admin.executions.projection import CatchUp, Projection, new_row
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import (
    Sessions,
    fetch_rows,
    fetch_value,
    migrating_sessions_of,
    reading_sessions_of,
    transaction,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PROJECTED = (tables.execution_states, tables.execution_nodes)


@pytest.fixture
async def sessions(database_url: str) -> AsyncIterator[Sessions]:
    sessions = migrating_sessions_of(database_url)
    async with transaction(sessions) as session:
        await (await session.connection()).run_sync(migrations.upgrade)
    yield sessions
    await sessions.kw["bind"].dispose()


@pytest.fixture
async def reading(database_url: str) -> AsyncIterator[Sessions]:
    reading = reading_sessions_of(database_url)
    yield reading
    await reading.kw["bind"].dispose()


async def create(sessions: Sessions, *executions: str) -> None:
    async with transaction(sessions) as session:
        for execution in executions:
            row = new_row(request(execution), NOW)
            await session.execute(tables.executions.insert(), row)


async def store(sessions: Sessions, events: Sequence[AnyEvent]) -> None:
    projection = Projection(sessions)
    for event in events:
        await projection.on_event(event)


async def insert_events(sessions: Sessions, events: Sequence[AnyEvent]) -> None:
    """Store events as a release does that projects none of them."""
    rows = [
        {"execution": event.execution, "index": event.index, "body": event.body().decode()}
        for event in events
    ]
    async with transaction(sessions) as session:
        await session.execute(tables.execution_events.insert(), rows)


async def projected(sessions: Sessions) -> list[list[Any]]:
    """Return the rows of the projection."""
    return [
        sorted(tuple(row) for row in await fetch_rows(sessions, sa.select(table)))
        for table in PROJECTED
    ]


async def delete_projection(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        for table in PROJECTED:
            await session.execute(table.delete())


async def read(reading: Sessions, execution: str) -> states.State:
    async with transaction(reading) as session:
        return await states.read(session, execution)


@BOTH
async def test_an_event_of_a_node_takes_seven_statements(sessions: Sessions) -> None:
    """They lock the execution, read what is moved, insert the event and update what has moved."""
    await create(sessions, "e1")
    *first, last = long_log("e1", nodes=1)[:4]
    await store(sessions, first)
    statements: list[str] = []

    def record(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    engine = sessions.kw["bind"].sync_engine
    sa.event.listen(engine, "before_cursor_execute", record)
    await store(sessions, [last])
    assert len([each for each in statements if not each.startswith("BEGIN")]) == 7, statements


@BOTH
async def test_events_in_any_order_and_three_times_give_the_state_of_the_log(
    sessions: Sessions, reading: Sessions
) -> None:
    await create(sessions, "e1")
    log = long_log("e1", nodes=4)
    deliveries = log * 3
    random.Random(11).shuffle(deliveries)
    await store(sessions, deliveries)
    assert await read(reading, "e1") == replay(log)
    count = sa.select(sa.func.count()).select_from(tables.execution_events)
    assert await fetch_value(reading, count) == len(log)


async def test_an_event_costs_the_same_whatever_the_length_of_its_log(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(sessions, "e1")
    log, parsed, statements = long_log("e1", nodes=150), 0, 0

    def count_parsed(body: str) -> AnyEvent:
        nonlocal parsed
        parsed += 1
        return parse(body)

    def count_statement(*_: Any) -> None:
        nonlocal statements
        statements += 1

    parse = states.parse_event
    monkeypatch.setattr(states, "parse_event", count_parsed)
    engine = sessions.kw["bind"].sync_engine
    sa.event.listen(engine, "before_cursor_execute", count_statement)
    await store(sessions, log)
    assert len(log) > 450
    assert parsed == 0  # each was parsed when it was delivered, and none again
    assert statements < 12 * len(log)


async def test_the_state_of_many_nodes_is_read_in_slices(
    sessions: Sessions, reading: Sessions
) -> None:
    await create(sessions, "e1")
    await store(sessions, events_of("e1"))
    row = {"execution": "e1", "phase": "waiting", "body": "{}"}
    async with transaction(sessions) as session:
        rows = [{**row, "node": f"more-{number}"} for number in range(20 * states.SLICE)]
        await session.execute(tables.execution_nodes.insert(), rows)
    reads = asyncio.create_task(read(reading, "e1"))
    assert await rounds_during(reads) >= 20
    assert len((await reads).nodes) == 2 + len(rows)


async def test_a_long_log_that_is_not_applied_is_read_in_slices(
    sessions: Sessions, reading: Sessions
) -> None:
    await create(sessions, "e1")
    log = long_log("e1", nodes=5 * states.SLICE)
    await insert_events(sessions, log)
    reads = asyncio.create_task(read(reading, "e1"))
    assert await rounds_during(reads) >= len(log) // states.SLICE
    assert (await reads).length == len(log)
    async with transaction(reading) as session:
        stored = asyncio.create_task(states.stored_events(session, "e1"))
        assert await rounds_during(stored) >= len(log) // states.SLICE
        assert await stored == log


async def rounds_during(task: "asyncio.Task[Any]") -> int:
    """Return how many rounds of the event loop there are until the task has ended."""
    rounds = 0
    while not task.done():
        rounds += 1
        await asyncio.sleep(0)
    return rounds


@BOTH
async def test_a_deleted_projection_is_made_again_from_the_log(
    sessions: Sessions, reading: Sessions
) -> None:
    await create(sessions, "e1")
    log = long_log("e1", nodes=100)
    assert len(log) > states.SLICE
    await store(sessions, log[:-2])
    before = await projected(sessions)
    await delete_projection(sessions)
    assert await read(reading, "e1") == replay(log[:-2])
    await CatchUp(sessions, reading).apply()
    assert await projected(sessions) == before
    await delete_projection(sessions)
    await store(sessions, log[-2:])
    assert await read(reading, "e1") == replay(log)
    phase = sa.select(tables.executions.c.phase)
    assert await fetch_value(reading, phase) == "succeeded"


@pytest.mark.parametrize("length", [states.SLICE, states.SLICE + 1, 2 * states.SLICE])
@BOTH
async def test_the_phase_is_stored_wherever_the_last_slice_of_a_log_ends(
    sessions: Sessions, reading: Sessions, length: int
) -> None:
    await create(sessions, "e1", "e2", "e3")
    phase = sa.select(tables.executions.c.phase).order_by("id")
    for execution in ("e1", "e2", "e3"):
        log = long_log(execution, nodes=length)
        events = [*log[: length - 1], log[-1].model_copy(update={"index": length - 1})]
        if execution == "e1":
            events = log[:length]
        await insert_events(sessions, events[execution == "e3" :])
        if execution == "e3":
            await store(sessions, events[:1])  # the first event is delivered last
    await CatchUp(sessions, reading).apply()
    stored = [each for (each,) in await fetch_rows(reading, phase)]
    assert stored == ["running", "succeeded", "succeeded"]


@BOTH
async def test_the_error_of_a_task_may_hold_any_character(
    sessions: Sessions, reading: Sessions
) -> None:
    await create(sessions, "e1")
    log = events_of("e1")[:-1]
    last = log[-1]
    failed = Failed(
        execution="e1", index=len(log), owner="a", epoch=1, at=last.at, node="n1", error="a\0b"
    )
    await store(sessions, [*log, failed])
    row = sa.select(tables.executions.c.phase, tables.executions.c.error)
    assert [tuple(each) for each in await fetch_rows(reading, row)] == [("failed", "a\ufffdb")]
    assert (await read(reading, "e1")).error == "a\0b"


@BOTH
async def test_a_projection_by_other_rules_is_made_again(
    sessions: Sessions, reading: Sessions
) -> None:
    await create(sessions, "e1")
    log = events_of("e1")
    await store(sessions, log[:-1])
    async with transaction(sessions) as session:
        other = {"rules": 0, "body": "of another release"}
        await session.execute(tables.execution_states.update().values(other))
        await session.execute(tables.execution_nodes.update().values(body="of another release"))
    assert await read(reading, "e1") == replay(log[:-1])
    await store(sessions, log[-1:])
    assert await read(reading, "e1") == replay(log)


@BOTH
async def test_events_that_an_earlier_release_stores_beside_this_one_are_applied(
    sessions: Sessions, reading: Sessions
) -> None:
    await create(sessions, "e1")
    log = events_of("e1")
    await store(sessions, log[:2])
    await insert_events(sessions, log[2:5])
    assert await read(reading, "e1") == replay(log[:5])
    await store(sessions, log[5:6])
    assert await read(reading, "e1") == replay(log[:6])
    await insert_events(sessions, log[6:])
    await CatchUp(sessions, reading).apply()
    assert (await projected(sessions))[0][0][1] == len(log)


@BOTH
async def test_the_logs_of_a_database_of_an_earlier_release_are_projected(
    database_url: str, reading: Sessions
) -> None:
    sessions = migrating_sessions_of(database_url)
    logs = {f"e{number}": long_log(f"e{number}", nodes=number) for number in range(3)}
    logs["e1"] = logs["e1"][:-2]

    def migrate(connection: Connection) -> None:
        command.upgrade(migrations.config(connection), "0004")
        for execution, log in logs.items():
            state = replay(log)
            row = new_row(request(execution), NOW) | {"phase": state.phase}
            del row["inputs"]
            _insert(connection, "executions", **row)
            for event in log:
                body = event.body().decode()
                key = {"execution": execution, "index": event.index}
                _insert(connection, "execution_events", body=body, **key)
        migrations.upgrade(connection)

    try:
        async with transaction(sessions) as session:
            await (await session.connection()).run_sync(migrate)
        assert [await read(reading, execution) for execution in logs] == [
            replay(log) for log in logs.values()
        ]
        await CatchUp(sessions, reading).apply()
        lengths = sa.select(tables.execution_states.c.log_length).order_by("execution")
        stored = [length for (length,) in await fetch_rows(reading, lengths)]
        assert stored == [len(log) for log in logs.values()]
        assert [await read(reading, execution) for execution in logs] == [
            replay(log) for log in logs.values()
        ]
    finally:
        await sessions.kw["bind"].dispose()


async def test_a_row_that_the_database_lacks_is_restored_when_the_first_claim_arrives_last(
    sessions: Sessions, reading: Sessions
) -> None:
    lost = Request.model_validate(request("e9").model_dump())
    log = long_log("e9", nodes=2, request=lost)
    assert isinstance(log[0], Owned)
    await store(sessions, [*log[1:], log[0]])
    assert await read(reading, "e9") == replace(replay(log), request=None)


def _insert(connection: Connection, table: str, **row: object) -> None:
    columns = [sa.column(name) for name in row]
    connection.execute(sa.table(table, *columns).insert(), row)
