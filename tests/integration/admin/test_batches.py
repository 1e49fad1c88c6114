"""Batches: requests that wait are stored together, and each has its own fate and transaction."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from tests.databases import BOTH
from tests.servers import PATIENCE_SECONDS
from trimtab.errors import Conflict, Rejected, Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import DomainChanged, PoolChanged
from trimtab_admin import migrations
from trimtab_admin.access.authorization import EVERYTHING, Caller
from trimtab_admin.steps import Steps
from trimtab_admin.storage import changes, outbox, tables
from trimtab_admin.storage.changes import MAX_BATCH, MAX_BATCH_WRITES, AddWrites, Change, Changes
from trimtab_admin.storage.database import (
    Sessions,
    fetch_rows,
    fetch_value,
    reading_sessions_of,
    sessions_of,
    transaction,
)
from trimtab_admin.storage.outbox import Author, OutboxRow, Write
from trimtab_admin.storage.tree import Tree


class Admin:
    """The writes of one admin, and how often it committed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sessions, self.reading, self.tree = sessions_of(url), reading_sessions_of(url), Tree()
        self.commits = 0
        self.changes = Changes(self.sessions, self.reading, self.tree, self.count)

    def count(self, _rows: Sequence[OutboxRow]) -> None:
        self.commits += 1

    def write(self, add_writes: AddWrites[int], name: str = "me") -> "asyncio.Task[int]":
        author = Author(Caller(name, EVERYTHING), "", name)
        return asyncio.create_task(self.changes.commit(add_writes, author))

    async def revision(self) -> object:
        return await fetch_value(self.reading, sa.select(tables.revision.c.value))

    async def pools(self) -> dict[str, int]:
        """Return the stored pools with their quotas, as another admin would read them."""
        settings = await Tree().latest(self.reading)
        return {name: pool.quota for name, pool in settings.pools.items()}

    async def close(self) -> None:
        for each in (self.sessions, self.reading):
            await each.kw["bind"].dispose()


@pytest.fixture
async def admin(database_url: str) -> AsyncIterator[Admin]:
    found = Admin(database_url)
    async with transaction(found.sessions) as session:
        connection = await session.connection()
        await connection.run_sync(migrations.upgrade)
    yield found
    await found.close()


def put(*quotas: int, name: str = "a", pauses: int = 0) -> AddWrites[int]:
    """Return the writes of one request, which give a pool one quota after the other."""

    def add_writes(change: Change) -> Steps[int]:
        for _ in range(pauses):
            yield
        for quota in quotas:
            change.add(subjects.pool(name), PoolChanged(name=name, quota=quota))
        return change.revision

    return add_writes


def increment(change: Change) -> Steps[int]:
    """Add 1 to the quota of the pool as the request sees it."""
    pool = change.settings.pools.get("a")
    change.add(subjects.pool("a"), PoolChanged(name="a", quota=pool.quota + 1 if pool else 1))
    yield from ()
    return change.revision


def refuse(change: Change) -> Steps[int]:
    change.add(subjects.pool("refused"), PoolChanged(name="refused"))
    yield from ()
    raise Conflict("not that")


async def history(admin: Admin) -> list[tuple[object, ...]]:
    columns = tables.history.c
    shown = (columns.revision, columns.commit_revision, columns.actor, columns.before)
    rows = await fetch_rows(admin.reading, sa.select(*shown).order_by(columns.revision))
    return [tuple(row) for row in rows]


@BOTH
async def test_requests_that_wait_are_stored_at_once_and_are_transactions_of_their_own(
    admin: Admin,
) -> None:
    writing = [admin.write(put(1, 2), "one"), *(admin.write(increment, who) for who in "xyz")]
    assert await asyncio.gather(*writing) == [2, 3, 4, 5]
    assert admin.commits == 1
    body = '{"name":"a","quota":%d,"project_cap":null,"project_domain_cap":null,"cohort":"default"'
    rows = await history(admin)
    assert [row[:3] for row in rows] == [
        (1, 2, "one"),
        (2, 2, "one"),
        (3, 3, "x"),
        (4, 4, "y"),
        (5, 5, "z"),
    ]
    # Each row shows what the change before it left, also where that is of the same batch.
    assert rows[0][3] is None
    assert [str(row[3])[: len(body) - 1] for row in rows[1:]] == [body % n for n in range(1, 5)]
    commits = sa.select(tables.outbox.c.commit_revision).order_by(tables.outbox.c.revision)
    found = await fetch_rows(admin.reading, commits)
    assert [row[0] for row in found] == [2, 2, 3, 4, 5]
    assert await admin.pools() == {"a": 5}
    known, stored = admin.tree.unverified, await Tree().latest(admin.reading)
    assert (known.pools, str(known.digest)) == (stored.pools, str(stored.digest))


@BOTH
async def test_callers_that_call_again_soon_share_a_batch(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine a caller needs longer than what a batch waits.
    monkeypatch.setattr(changes, "_REJOIN_SHARE", 1e9)
    monkeypatch.setattr(changes, "_MOST_REJOIN_SECONDS", 2 * PATIENCE_SECONDS)

    async def call_again(caller: int) -> None:
        for number in range(5):
            await admin.write(put(1 + number, name=f"p{caller}"))
            await asyncio.sleep(0.002 * caller)

    async with asyncio.timeout(PATIENCE_SECONDS):
        await call_again(0)  # A single caller waits for no other one.
        await asyncio.gather(*(call_again(caller) for caller in range(4)))
    assert admin.commits == 5 + 5


@BOTH
async def test_no_request_waits_for_more_than_a_batch(admin: Admin) -> None:
    writing = [admin.write(increment) for _ in range(MAX_BATCH + 1)]
    assert await asyncio.gather(*writing) == list(range(1, MAX_BATCH + 2))
    assert admin.commits == 2


@BOTH
async def test_a_batch_with_many_changes_gets_no_further_request(admin: Admin) -> None:
    quotas = range(1, MAX_BATCH_WRITES // 2 + 1)
    writing = [admin.write(put(*quotas)) for _ in range(3)]
    assert await asyncio.gather(*writing) == [n * len(quotas) for n in (1, 2, 3)]
    assert admin.commits == 2


@BOTH
async def test_a_request_that_waits_too_long_for_its_turn_gives_up_and_has_no_effect(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_judged, has_given_up = asyncio.Event(), False

    def slowly(change: Change) -> Steps[int]:
        is_judged.set()
        while not has_given_up:
            yield
        return (yield from increment(change))

    writing = admin.write(slowly)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await is_judged.wait()
        monkeypatch.setattr(changes, "_TURN_SECONDS", 0.05)
        with pytest.raises(Unavailable, match="have not ended in time"):
            await admin.write(increment)
    has_given_up = True
    assert await writing == 1
    assert await admin.pools() == {"a": 1}


@BOTH
async def test_a_request_that_gave_up_between_two_tries_has_no_effect(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_judged, is_outdated = asyncio.Event(), False

    def slowly(change: Change) -> Steps[int]:
        is_judged.set()
        if is_outdated:
            raise Conflict("not any more")
        while True:
            yield

    writing = admin.write(slowly)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await is_judged.wait()
        monkeypatch.setattr(changes, "_TURN_SECONDS", 0.05)
        with pytest.raises(Unavailable, match="have not ended in time"):
            await admin.write(increment)
        is_outdated = True
        async with transaction(admin.sessions) as session:
            event = PoolChanged(name="other")
            await outbox.append(session, [Write(subjects.pool("other"), event)])
        await admin.tree.latest(admin.reading)
        with pytest.raises(Conflict):
            await writing
    assert (await admin.pools()).keys() == {"other"}


@BOTH
async def test_a_refused_request_refuses_no_other_one_and_has_no_effect(admin: Admin) -> None:
    def see(change: Change) -> Steps[int]:
        assert list(change.settings.pools) == ["a"]
        return (yield from increment(change))

    def fail(change: Change) -> Steps[int]:
        change.add(subjects.pool("failed"), PoolChanged(name="failed"))
        yield from ()
        raise ZeroDivisionError

    requests = [increment, refuse, see, fail, see]
    results = await asyncio.gather(
        *(admin.write(each) for each in requests), return_exceptions=True
    )
    assert [type(result) for result in results] == [int, Conflict, int, ZeroDivisionError, int]
    assert [result for result in results if isinstance(result, int)] == [1, 2, 3]
    assert admin.commits == 1
    assert await admin.pools() == {"a": 3}


@BOTH
async def test_all_requests_are_judged_again_where_another_admin_wrote_in_between(
    admin: Admin, database_url: str
) -> None:
    judged = 0

    def write_late(change: Change) -> Steps[int]:
        nonlocal judged
        judged += 1
        if judged == 1:
            with ThreadPoolExecutor(1) as others:
                others.submit(asyncio.run, write_as_another_admin(database_url)).result()
        return (yield from increment(change))

    requests = [increment, refuse, write_late, increment]
    results = await asyncio.gather(
        *(admin.write(each) for each in requests), return_exceptions=True
    )
    assert [result for result in results if isinstance(result, int)] == [2, 3, 4]
    assert [type(result) for result in results][1] is Conflict
    assert (judged, admin.commits) == (2, 1)
    # Every increment counts from what the other admin wrote.
    assert await admin.pools() == {"a": 103}


async def write_as_another_admin(url: str) -> None:
    other = sessions_of(url)
    async with transaction(other) as session:
        event = PoolChanged(name="a", quota=100)
        await outbox.append(session, [Write(subjects.pool("a"), event)])
    await other.kw["bind"].dispose()


@BOTH
async def test_a_failure_of_the_database_fails_the_batch_and_stores_nothing(admin: Admin) -> None:
    await admin.write(increment)
    await rename(admin.sessions, "outbox", "gone")
    failing = [admin.write(increment) for _ in range(3)]
    results = await asyncio.gather(*failing, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 3
    await rename(admin.sessions, "gone", "outbox")
    assert (await admin.revision(), await admin.pools()) == (1, {"a": 1})
    assert await admin.write(increment) == 2


async def rename(sessions: Sessions, old: str, new: str) -> None:
    async with transaction(sessions) as session:
        await session.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_a_value_that_the_database_cannot_store_rejects_only_its_request(
    admin: Admin,
) -> None:
    writing = [admin.write(increment, name) for name in ("x", "a\0b", "z")]
    results = await asyncio.gather(*writing, return_exceptions=True)
    assert [type(result) for result in results] == [int, Rejected, int]
    assert await admin.pools() == {"a": 2}


@BOTH
async def test_a_caller_that_is_cancelled_cancels_no_other_one(admin: Admin) -> None:
    leaving: list[asyncio.Task[int]] = []

    def cancel_second(change: Change) -> Steps[int]:
        leaving[1].cancel()
        return (yield from increment(change))

    # The first one leaves while it waits, the second one while its batch is judged.
    leaving += [admin.write(increment), admin.write(increment)]
    staying = [admin.write(cancel_second), admin.write(increment)]
    await asyncio.sleep(0)
    leaving[0].cancel()
    assert await asyncio.gather(*staying) == [2, 3]
    results = await asyncio.gather(*leaving, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 2
    # As with a lost response, what was being written is stored.
    assert await admin.pools() == {"a": 3}


@BOTH
async def test_other_tasks_run_while_a_long_request_is_judged_which_is_stored_alone(
    admin: Admin,
) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    writing = [admin.write(each) for each in (increment, put(10, pauses=500), increment, increment)]
    assert await asyncio.gather(*writing) == [1, 2, 3, 4]
    counting.cancel()
    assert turns >= 500
    assert admin.commits == 3
    assert await admin.pools() == {"a": 12}


@BOTH
async def test_a_long_request_is_judged_again_when_the_settings_advance_meanwhile(
    admin: Admin,
) -> None:
    other, advanced, completed = Admin(admin.url), False, []

    def slowly(change: Change) -> Steps[int]:
        before = change.settings.revision
        yield
        while not advanced:
            yield
        yield
        completed.append(before)
        return (yield from increment(change))

    writing = admin.write(slowly)
    await asyncio.sleep(0)
    await other.write(increment)
    await admin.tree.latest(admin.reading)
    advanced = True
    assert await writing == 2
    # The first try ended at its next pause.
    assert completed == [1]
    assert await admin.pools() == {"a": 2}
    await other.close()


@BOTH
async def test_requests_that_change_namespaces_are_stored_one_by_one_in_order(
    admin: Admin,
) -> None:
    def declare(name: str) -> AddWrites[int]:
        def add_writes(change: Change) -> Steps[int]:
            yield from ()
            return change.add(subjects.domain(name), DomainChanged(name=name))

        return add_writes

    requests = [increment, declare("dev"), declare("prod"), increment, increment]
    assert await asyncio.gather(*(admin.write(each) for each in requests)) == [1, 2, 3, 4, 5]
    assert admin.commits == 4
    assert (await Tree().latest(admin.reading)).domains.keys() == {"dev", "prod"}


@BOTH
async def test_writes_that_end_with_the_process_are_stored_or_not_but_never_in_part(
    admin: Admin,
) -> None:
    """The writer ends between the commit and the answers, as it does when a process is killed."""
    writing = [admin.write(put(1, 2)), admin.write(increment)]
    while not admin.commits:
        await asyncio.sleep(0)
    ended = [task.cancel() for task in writing]
    assert all(ended) or await asyncio.gather(*writing) == [2, 3]
    next_admin = Admin(admin.url)
    assert await next_admin.write(increment) == 4
    assert await next_admin.pools() == {"a": 4}
    await next_admin.close()
