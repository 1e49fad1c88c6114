"""The search for executions that are to be requested, which is repeated every few seconds."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from trimtab.testing import request
from trimtab_admin import migrations
from trimtab_admin.executions import requests
from trimtab_admin.executions.projection import new_row
from trimtab_admin.executions.requests import Requester
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import Sessions, migrating_sessions_of, transaction

PHASES = ("requested", "succeeded", "running", "failed", "refused")


@pytest.fixture
async def sessions(database_url: str) -> AsyncIterator[Sessions]:
    sessions = migrating_sessions_of(database_url)
    rows = [new_row(request(f"e{n}"), datetime(2026, 1, 2, n, tzinfo=UTC)) for n in range(5)]
    async with transaction(sessions) as session:
        await (await session.connection()).run_sync(migrations.upgrade)
        phased = [{**row, "phase": phase} for row, phase in zip(rows, PHASES, strict=True)]
        await session.execute(tables.executions.insert(), phased)
    yield sessions
    await sessions.kw["bind"].dispose()


async def test_the_search_looks_at_no_execution_that_has_ended(sessions: Sessions) -> None:
    """They are nearly all, and SQLite would read their requests too, in the event loop.

    Nor does it read the requests of the others: those that cannot be published are found each time.
    """
    searches: list[tuple[str, Any]] = []

    def record(_connection: object, _cursor: object, statement: str, values: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            searches.append((statement, values))

    engine = sessions.kw["bind"]
    sa.event.listen(engine.sync_engine, "before_cursor_execute", record)
    client: Any = None  # it is not used
    found = await Requester(client, sessions, sessions)._pending_requests("now", None)
    assert [each.execution for each in found] == ["e0", "e2"]
    [(statement, values)] = searches
    assert "executions.request," not in statement
    async with engine.connect() as connection:
        plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        lines = [row.detail for row in plan]
    assert any("USING INDEX executions_by_phase (phase=?)" in line for line in lines), lines
    assert not any(line.startswith("SCAN") for line in lines), lines


async def test_the_search_goes_on_after_the_last_execution_that_it_has_found(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "_BATCH", 1)
    client: Any = None  # it is not used
    search, found, last = Requester(client, sessions, sessions)._pending_requests, [], None
    while pending := await search("now", last):
        [last] = pending
        found.append(last.execution)
    assert found == ["e0", "e2"]
