"""Commits: a change stored in one statement equals one under the lock, and never overwrites."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from tests import databases
from tests.databases import BOTH
from tests.integration.admin.running import until
from trimtab.api.settings import MAX_DOCUMENTS
from trimtab.errors import Conflict, Rejected, Retryable
from trimtab.messages import subjects
from trimtab.messages.events import DomainChanged, PoolChanged
from trimtab_admin import migrations
from trimtab_admin.access.authorization import EVERYTHING, Caller
from trimtab_admin.steps import Steps
from trimtab_admin.storage import commits, database, outbox, tables
from trimtab_admin.storage.changes import Change, Changes
from trimtab_admin.storage.commits import Transaction
from trimtab_admin.storage.database import (
    SHORT_COMMIT_ROWS,
    Sessions,
    fetch_rows,
    fetch_value,
    migrating_sessions_of,
    reading_sessions_of,
    sessions_of,
    transaction,
)
from trimtab_admin.storage.outbox import Author, Write
from trimtab_admin.storage.tables import history
from trimtab_admin.storage.tree import Tree

AUTHOR = Author(Caller("me", EVERYTHING), "because", "request")
ON_POSTGRESQL = pytest.mark.parametrize("backend", ["postgresql"])


@pytest.fixture
async def sessions(database_url: str) -> AsyncIterator[Sessions]:
    made = sessions_of(database_url)
    async with transaction(made) as session:
        connection = await session.connection()
        await connection.run_sync(migrations.upgrade)
    yield made
    await made.kw["bind"].dispose()


def put(name: str, quota: int) -> Write:
    return Write(subjects.pool(name), PoolChanged(name=name, quota=quota))


def delete(name: str) -> Write:
    return Write(subjects.pool(name), PoolChanged(name=name, quota=1, deleted=True), deleted=True)


HISTORY: Sequence[Sequence[Write]] = (
    [put("a", 1), put("b", 2)],
    [put("a", 3), delete("b"), put("c", 4)],
    [delete("a"), put("a", 5)],
    [put("c", 6), delete("c")],
    [Write(subjects.domain("it's"), DomainChanged(name="it's"))],
)


async def under_lock(sessions: Sessions, before: int, writes: Sequence[Write]) -> None:
    async with transaction(sessions) as session:
        assert await outbox.lock(session) == before
        await commits.store(session, before, [Transaction(writes, AUTHOR)])


async def in_one_statement(sessions: Sessions, before: int, writes: Sequence[Write]) -> None:
    assert await store_if_current(sessions, before, writes)


async def store_if_current(sessions: Sessions, before: int, writes: Sequence[Write]) -> bool:
    return bool(await commits.store_if_current(sessions, before, [Transaction(writes, AUTHOR)]))


TABLES = (tables.revision, tables.outbox, tables.settings, history)


async def take_all(sessions: Sessions) -> dict[str, list[dict[str, Any]]]:
    """Empty the tables and return their rows, without the columns that differ each time."""
    found = {}
    for table in TABLES:
        columns = [column for column in table.c if column.name not in ("event_id", "at")]
        listed = await fetch_rows(sessions, sa.select(*columns).order_by(columns[0]))
        found[table.name] = [row._asdict() for row in listed]
    async with transaction(sessions) as session:
        for table in (tables.outbox, tables.settings, history):
            await session.execute(table.delete())
        await session.execute(tables.revision.update().values(value=0))
    return found


@BOTH
async def test_a_change_in_one_statement_stores_the_same_as_one_under_the_lock(
    sessions: Sessions,
) -> None:
    left = []
    for store in (under_lock, in_one_statement):
        before = 0
        for writes in HISTORY:
            await store(sessions, before, writes)
            before += len(writes)
        left.append(await take_all(sessions))
    assert left[0] == left[1]
    assert [len(left[1][table.name]) for table in TABLES] == [1, 10, 2, 10]


@ON_POSTGRESQL
async def test_many_rows_are_stored_by_several_statements_of_one_transaction(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = [write for transaction in HISTORY for write in transaction]
    statements = 0

    def count(*_arguments: object) -> None:
        nonlocal statements
        statements += 1

    sa.event.listen(sessions.kw["bind"].sync_engine, "before_cursor_execute", count)
    left = []
    for size, expected in ((len(writes), 1), (3, 4)):
        monkeypatch.setattr(commits, "ROWS_OF_STATEMENT", size)
        for store in (in_one_statement, under_lock):
            statements = 0
            await store(sessions, 0, writes)
            assert statements == expected + (store is under_lock)
            assert not await store_if_current(sessions, 0, writes)
            left.append(await take_all(sessions))
    assert left == [left[0]] * 4
    assert len(left[0]["outbox"]) == len(writes)


@ON_POSTGRESQL
async def test_as_many_documents_as_an_apply_may_have_are_one_commit(sessions: Sessions) -> None:
    await in_one_statement(sessions, 0, [put(f"p{n}", n) for n in range(MAX_DOCUMENTS)])
    query = sa.select(sa.func.count(), sa.func.min(history.c.commit_revision))
    [row] = await fetch_rows(sessions, query)
    assert tuple(row) == (MAX_DOCUMENTS, MAX_DOCUMENTS)


@BOTH
async def test_history_is_searched_by_the_time_at_which_a_change_was_stored(
    sessions: Sessions,
) -> None:
    before = datetime.now(UTC)
    await in_one_statement(sessions, 0, [put("a", 1)])
    found = sa.select(sa.func.count()).where(history.c.at.between(before, datetime.now(UTC)))
    assert await fetch_value(sessions, found) == 1


async def test_other_tasks_run_while_sqlite_writes_many_rows(sessions: Sessions) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += await is_in_use(sessions)
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    await in_one_statement(sessions, 0, [put(f"pool-{n}", 1) for n in range(2000)])
    counting.cancel()
    assert turns >= 9  # three lists of four parts each, with pauses between the parts


class RoundsAfterCommit:
    """Counts the rounds of the event loop after the start of the last commit."""

    def __init__(self, sessions: Sessions) -> None:
        self.rounds = 0
        self._next = asyncio.get_running_loop().call_soon(self._count)
        sa.event.listen(sessions.kw["bind"].sync_engine, "commit", self._begin)

    def _begin(self, _connection: object) -> None:
        self.rounds = 0
        self._next.cancel()
        self._next = asyncio.get_running_loop().call_soon(self._count)

    def _count(self) -> None:
        self.rounds += 1
        self._next = asyncio.get_running_loop().call_soon(self._count)

    def stop(self) -> None:
        self._next.cancel()


async def test_other_tasks_run_while_sqlite_commits_very_many_rows(sessions: Sessions) -> None:
    """Each change has three rows. A commit of few rows is not worth a call of another thread."""
    counted, before = RoundsAfterCommit(sessions), 0
    for changes, is_long in ((10, False), (SHORT_COMMIT_ROWS // 3 + 1, True), (10, False)):
        await in_one_statement(sessions, before, [put(f"p{n}", 1) for n in range(changes)])
        before += changes
        assert (counted.rounds > 0) == is_long
    counted.stop()


async def test_changes_are_shown_straight_after_their_commit(
    sessions: Sessions, database_url: str
) -> None:
    """A read in between would find them in the database alone, and apply all of them itself."""
    reading = reading_sessions_of(database_url)
    counted, shown = RoundsAfterCommit(sessions), list[int]()
    tree = Tree()
    changes = Changes(sessions, reading, tree, lambda _rows: shown.append(counted.rounds))
    await tree.latest(reading)

    def add(change: Change) -> Steps[None]:
        for n in range(3000):
            write = put(f"p{n}", 1)
            change.add(write.subject, write.event)
        yield

    await changes.commit(add, AUTHOR)
    assert len(tree.unverified.pools) == 3000
    assert shown == [0]
    counted.stop()
    await reading.kw["bind"].dispose()


@BOTH
async def test_a_change_based_on_another_revision_stores_nothing(sessions: Sessions) -> None:
    await in_one_statement(sessions, 0, [put("a", 1)])
    for before in (0, 2):
        assert not await store_if_current(sessions, before, [put("a", 2), delete("a")])
    left = await take_all(sessions)
    assert [len(left[table.name]) for table in TABLES] == [1, 1, 1, 1]
    assert left["revision"] == [{"id": 1, "value": 1}]


@BOTH
async def test_exactly_one_of_concurrent_changes_based_on_one_revision_is_stored(
    sessions: Sessions,
) -> None:
    tries = (store_if_current(sessions, 0, [put("a", n + 1)]) for n in range(20))
    assert sorted(await asyncio.gather(*tries)) == [False] * 19 + [True]


@ON_POSTGRESQL
@pytest.mark.parametrize("preferred", ["repeatable read", "serializable"])
async def test_a_change_that_waited_for_the_lock_is_not_stored_at_any_default_isolation(
    sessions: Sessions, database_url: str, preferred: str
) -> None:
    name = database_url.rpartition("/")[2]
    option = f"default_transaction_isolation = '{preferred}'"
    await databases.execute(database_url, f"ALTER DATABASE {name} SET {option}")
    late = sessions_of(database_url)
    async with transaction(sessions) as session:
        await outbox.append(session, [put("others", 1)])
        trying = asyncio.create_task(store_if_current(late, 0, [put("a", 1)]))
        await until(lambda: a_session_waits(sessions))
    assert not await trying
    await late.kw["bind"].dispose()


async def test_a_change_that_waited_for_the_lock_is_not_stored_on_sqlite(
    sessions: Sessions, database_url: str
) -> None:
    others = sessions_of(database_url)
    async with transaction(others) as session:
        await outbox.append(session, [put("others", 1)])
        trying = asyncio.create_task(store_if_current(sessions, 0, [put("a", 1)]))
        await until(lambda: is_in_use(sessions))
        assert not trying.done()
    assert not await trying
    await others.kw["bind"].dispose()


@BOTH
async def test_a_change_that_fails_in_part_stores_nothing(sessions: Sessions) -> None:
    await in_one_statement(sessions, 0, [put("a", 1)])
    async with transaction(sessions) as session:
        await session.execute(tables.settings.update().values(revision=3))
    with pytest.raises(Retryable):
        await store_if_current(sessions, 1, [put("b", 2), put("c", 3)])
    left = await take_all(sessions)
    assert [len(left[table.name]) for table in TABLES] == [1, 1, 1, 1]
    assert left["revision"] == [{"id": 1, "value": 1}]


async def is_in_use(sessions: Sessions) -> bool:
    return bool(sessions.kw["bind"].pool.checkedout())


async def a_session_waits(sessions: Sessions) -> bool:
    waiting = "datname = current_database() AND wait_event_type = 'Lock'"
    query = sa.text(f"SELECT count(*) FROM pg_stat_activity WHERE {waiting}")
    return bool(await fetch_value(sessions, query))


@ON_POSTGRESQL
async def test_text_that_cannot_be_stored_is_rejected(sessions: Sessions) -> None:
    author = Author(AUTHOR.caller, "a\0b")
    with pytest.raises(Rejected, match="cannot store"):
        await commits.store_if_current(sessions, 0, [Transaction([put("a", 1)], author)])
    await in_one_statement(sessions, 0, [put("a", 1)])


@BOTH
async def test_a_change_that_conflicts_in_each_try_takes_the_lock(
    sessions: Sessions, database_url: str
) -> None:
    """Another process writes between the read and the write of each try."""
    conflicts = 0

    def fill(change: Change) -> Steps[int]:
        nonlocal conflicts
        writing = others.submit(asyncio.run, write_as_another_process(database_url))
        if conflicts < 4:
            conflicts += 1
            writing.result()
        else:  # the other process waits for the lock
            with pytest.raises(TimeoutError):
                writing.result(timeout=0.3)
        yield
        return change.add(subjects.pool("mine"), PoolChanged(name="mine"))

    reading = reading_sessions_of(database_url)
    changes = Changes(sessions, reading, Tree(), lambda _rows: None)
    with ThreadPoolExecutor(1) as others:
        assert await changes.commit(fill, AUTHOR) == 5
    assert conflicts == 4
    await reading.kw["bind"].dispose()


@ON_POSTGRESQL
async def test_a_change_that_takes_long_has_enough_time_under_the_lock(
    sessions: Sessions, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_IDLE_MILLIS", 200)
    impatient = sessions_of(database_url)
    revisions = []

    def fill(change: Change) -> Steps[int]:
        revisions.append(change.before)
        if len(revisions) == 1:  # it is judged again under the lock
            with ThreadPoolExecutor(1) as others:
                others.submit(asyncio.run, write_as_another_process(database_url)).result()
        for _ in range(4):
            time.sleep(0.1)
        yield
        return change.add(subjects.domain("a"), DomainChanged(name="a"))

    reading = reading_sessions_of(database_url)
    changes = Changes(impatient, reading, Tree(), lambda _rows: None)
    assert await changes.commit(fill, AUTHOR) == 2
    assert revisions == [0, 1]
    await reading.kw["bind"].dispose()
    await impatient.kw["bind"].dispose()


@BOTH
async def test_a_change_is_not_rejected_on_outdated_settings(
    sessions: Sessions, database_url: str
) -> None:
    def fill(change: Change) -> Steps[int]:
        if "others" not in change.settings.pools:
            raise Conflict("not yet")
        yield
        return change.revision

    reading = reading_sessions_of(database_url)
    changes = Changes(sessions, reading, Tree(), lambda _rows: None)
    with pytest.raises(Conflict):
        await changes.commit(fill, AUTHOR)
    await write_as_another_process(database_url)
    assert await changes.commit(fill, AUTHOR) == 1
    await reading.kw["bind"].dispose()


async def write_as_another_process(url: str) -> None:
    sessions = migrating_sessions_of(url)  # of no test's limits
    async with transaction(sessions) as session:
        await outbox.append(session, [put("others", 1)])
    await sessions.kw["bind"].dispose()
