"""Transactions: which ones wait, what a cancelled one leaves behind, and SQLite's checkpoints."""

import asyncio
import shutil
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from tests.databases import BOTH
from tests.integration.admin.running import FORCE, until
from tests.servers import PATIENCE_SECONDS
from trimtab.errors import Unavailable
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import (
    Sessions,
    checkpoint,
    reading_sessions_of,
    sessions_of,
    transaction,
)

SLOW = {
    "sqlite": """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
        SELECT sum(i) FROM n UNION ALL SELECT 1""",
    "postgresql": "SELECT pg_sleep(0.5)",
}
"""Statements that run long enough to be cancelled; SQLite's also returns several rows."""


async def run_slow_statement(sessions: Sessions, backend: str, begun: asyncio.Event) -> None:
    async with transaction(sessions) as session:
        await session.execute(sa.text("INSERT INTO numbers VALUES (1)"))
        begun.set()
        await session.execute(sa.text(SLOW[backend]))


@BOTH
async def test_a_writer_that_is_cancelled_in_a_statement_does_not_block_others(
    database_url: str, backend: str
) -> None:
    sessions, begun = sessions_of(database_url), asyncio.Event()
    async with transaction(sessions) as session:
        await session.execute(sa.text("CREATE TABLE numbers (number INTEGER)"))
    writer = asyncio.create_task(run_slow_statement(sessions, backend, begun))
    await begun.wait()
    await asyncio.sleep(0.05)
    writer.cancel()
    # The cursor exists for as long as the traceback does.
    [_error] = await asyncio.gather(writer, return_exceptions=True)
    async with asyncio.timeout(PATIENCE_SECONDS), transaction(sessions) as session:
        assert await session.scalar(sa.text("SELECT count(*) FROM numbers")) == 0
    await sessions.kw["bind"].dispose()


async def test_a_file_that_cannot_be_opened_leaves_no_thread_behind(tmp_path: Path) -> None:
    sessions = reading_sessions_of(f"sqlite+aiosqlite:///{tmp_path / 'nowhere' / 'admin.db'}")
    before = threading.active_count()
    for _ in range(20):
        with pytest.raises(Unavailable, match="unable to open"):
            async with transaction(sessions) as session:
                await session.connection()
        # A thread that is left would call an event loop that has ended, and print a traceback.
        assert threading.active_count() == before


async def test_the_event_loop_runs_during_a_checkpoint(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'admin.db'}"
    writing, reading = await create_database(url), reading_sessions_of(url)
    await checkpoint(reading)
    await increment_revision(writing)
    checkpointing = asyncio.create_task(checkpoint(reading))
    await asyncio.sleep(0)
    assert not checkpointing.done()
    await checkpointing
    shutil.copy(tmp_path / "admin.db", tmp_path / "without-log.db")
    with closing(sqlite3.connect(tmp_path / "without-log.db")) as copy:
        assert copy.execute("SELECT value FROM revision").fetchall() == [(8,)]
    for sessions in (writing, reading):
        await sessions.kw["bind"].dispose()


async def create_database(url: str) -> Sessions:
    sessions = sessions_of(url)
    async with transaction(sessions) as session:
        connection = await session.connection()
        await connection.run_sync(tables.metadata.create_all)
        await session.execute(tables.revision.insert(), {"id": 1, "value": 7})
    return sessions


async def increment_revision(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        increment = tables.revision.update().values(value=tables.revision.c.value + 1)
        await session.execute(increment)


async def test_the_event_loop_runs_while_a_writer_waits_for_another_process(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'admin.db'}"
    writing, reading = await create_database(url), reading_sessions_of(url)
    with closing(sqlite3.connect(tmp_path / "admin.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writer = asyncio.create_task(increment_revision(writing))
        for _ in range(20):
            async with transaction(reading) as session:
                assert await session.scalar(sa.select(tables.revision.c.value)) == 7
            await asyncio.sleep(0.001)
        assert not writer.done()
        other.execute("ROLLBACK")
        await writer
    async with transaction(reading) as session:
        assert await session.scalar(sa.select(tables.revision.c.value)) == 8
    for sessions in (writing, reading):
        await sessions.kw["bind"].dispose()


async def test_admin_soon_checkpoints_what_it_has_committed(
    admin: httpx.AsyncClient, tmp_path: Path
) -> None:
    path = "/records/workflow_priority"
    revision = (await admin.put(path, params=FORCE, json={"priority": 7})).json()["version"]

    async def is_in_the_file() -> bool:
        shutil.copy(tmp_path / "admin.db", tmp_path / "without-log.db")
        with (
            closing(sqlite3.connect(tmp_path / "without-log.db")) as copy,
            suppress(sqlite3.DatabaseError),  # The file may be written while it is copied.
        ):
            return copy.execute("SELECT value FROM revision").fetchall() == [(revision,)]
        return False

    await until(is_in_the_file)
