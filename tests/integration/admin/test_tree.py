"""The tree in memory: a read sees everything committed before it; reads share a check."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
import sqlalchemy as sa

from tests.databases import BOTH
from trimtab.errors import Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import ProjectChanged
from trimtab_admin import migrations
from trimtab_admin.storage import outbox, tables
from trimtab_admin.storage.database import Sessions, reading_sessions_of, sessions_of, transaction
from trimtab_admin.storage.outbox import Write
from trimtab_admin.storage.tree import Tree

REVISION = sa.select(tables.revision.c.value)
END_OTHERS = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


class Database(NamedTuple):
    writing: Sessions
    reading: Sessions

    async def write(self) -> int:
        """Commit a change as another process would; return its revision."""
        event = ProjectChanged(name="shop")
        async with transaction(self.writing) as session:
            [revision] = await outbox.append(session, [Write(subjects.project("shop"), event)])
        return revision


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    found = Database(sessions_of(database_url), reading_sessions_of(database_url))
    async with transaction(found.writing) as session:
        connection = await session.connection()
        await connection.run_sync(migrations.upgrade)
    yield found
    for sessions in found:
        await sessions.kw["bind"].dispose()


@BOTH
async def test_a_read_sees_everything_committed_before_it_during_other_reads(
    database: Database,
) -> None:
    tree = Tree()

    async def read_on() -> None:
        while True:
            await tree.latest(database.reading)

    readers = [asyncio.create_task(read_on()) for _ in range(8)]
    for _ in range(100):
        revision = await database.write()
        assert (await tree.latest(database.reading)).revision >= revision
    for reader in readers:
        reader.cancel()
        with suppress(asyncio.CancelledError):
            await reader


@BOTH
async def test_one_check_of_the_database_serves_all_waiting_reads(
    database: Database,
) -> None:
    tree = Tree()
    await database.write()
    seen = await asyncio.gather(*(tree.latest(database.reading) for _ in range(50)))
    # Fifty reads with a connection each would exceed PostgreSQL's pool of five.
    assert {settings.revision for settings in seen} == {1}
    assert database.reading.kw["bind"].pool.checkedin() <= 2


@BOTH
async def test_a_transaction_after_a_check_sees_one_snapshot(database: Database) -> None:
    await Tree().latest(database.reading)
    async with transaction(database.reading) as session:
        assert await session.scalar(REVISION) == 0
        await database.write()
        assert await session.scalar(REVISION) == 0


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_a_check_on_a_broken_connection_fails_and_the_next_one_reconnects(
    database: Database,
) -> None:
    tree = Tree()
    await tree.latest(database.reading)
    revision = await database.write()
    async with transaction(database.writing) as session:
        await session.execute(END_OTHERS)
    with pytest.raises(Unavailable):
        await tree.latest(database.reading)
    assert (await tree.latest(database.reading)).revision == revision


async def test_cancelling_one_read_does_not_cancel_the_others(database: Database) -> None:
    tree = Tree()
    revision = await database.write()
    first, second = (asyncio.create_task(tree.latest(database.reading)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).revision == revision
    assert first.cancelled()


async def test_all_waiting_reads_fail_when_the_database_is_unavailable(tmp_path: Path) -> None:
    tree = Tree()
    reading = reading_sessions_of(f"sqlite+aiosqlite:///{tmp_path / 'nowhere' / 'admin.db'}")
    waiting = (tree.latest(reading) for _ in range(5))
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in errors] == [Unavailable] * 5
