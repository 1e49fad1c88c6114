"""Transactions: who waits for whom, and what is left of those that are cancelled."""

import asyncio
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.databases import BOTH
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
"""Long enough to be cancelled within; on SQLite also with an answer of more than one row."""


async def read_slowly(sessions: Sessions, backend: str, begun: asyncio.Event) -> None:
    async with transaction(sessions) as session:
        await session.execute(sa.text("INSERT INTO numbers VALUES (1)"))
        begun.set()
        await session.execute(sa.text(SLOW[backend]))


@BOTH
async def test_a_writer_that_is_cancelled_within_a_statement_holds_up_nobody(
    database_url: str, backend: str
) -> None:
    sessions, begun = sessions_of(database_url), asyncio.Event()
    async with transaction(sessions) as session:
        await session.execute(sa.text("CREATE TABLE numbers (number INTEGER)"))
    reading = asyncio.create_task(read_slowly(sessions, backend, begun))
    await begun.wait()
    await asyncio.sleep(0.05)
    reading.cancel()
    # Its traceback is alive, and with it the cursor.
    [_cancelled] = await asyncio.gather(reading, return_exceptions=True)
    async with asyncio.timeout(8), transaction(sessions) as session:
        assert await session.scalar(sa.text("SELECT count(*) FROM numbers")) == 0
    await sessions.kw["bind"].dispose()


async def test_a_file_that_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    sessions = reading_sessions_of(f"sqlite+aiosqlite:///{tmp_path / 'nowhere' / 'admin.db'}")
    before = threading.active_count()
    for _ in range(20):
        with pytest.raises(Unavailable, match="unable to open"):
            async with transaction(sessions) as session:
                await session.connection()
        # One would have a word to a loop that has ended, and end a process with a traceback.
        assert threading.active_count() == before


async def test_the_program_goes_on_while_the_log_is_put_into_the_file(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'admin.db'}"
    writing, reading = await made(url), reading_sessions_of(url)
    await checkpoint(reading)
    await count_up(writing)
    putting_away = asyncio.create_task(checkpoint(reading))
    await asyncio.sleep(0)
    assert not putting_away.done()
    await putting_away
    shutil.copy(tmp_path / "admin.db", tmp_path / "without-log.db")
    with closing(sqlite3.connect(tmp_path / "without-log.db")) as copy:
        assert copy.execute("SELECT value FROM revision").fetchall() == [(8,)]
    for sessions in (writing, reading):
        await sessions.kw["bind"].dispose()


async def made(url: str) -> Sessions:
    sessions = sessions_of(url)
    async with transaction(sessions) as session:
        connection = await session.connection()
        await connection.run_sync(tables.metadata.create_all)
        await session.execute(tables.revision.insert(), {"id": 1, "value": 7})
    return sessions


async def count_up(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        counted = tables.revision.update().values(value=tables.revision.c.value + 1)
        await session.execute(counted)


async def test_the_program_goes_on_while_a_writer_waits_for_another_process(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'admin.db'}"
    writing, reading = await made(url), reading_sessions_of(url)
    with closing(sqlite3.connect(tmp_path / "admin.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writer = asyncio.create_task(count_up(writing))
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
