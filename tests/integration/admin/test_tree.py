"""The tree in memory: a read sees everything committed before it; reads share a check."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

from tests.databases import BOTH
from tests.servers import PATIENCE_SECONDS
from trimtab.errors import Unavailable
from trimtab.levels import PLATFORM, SETTINGS_FILE, Scope
from trimtab.messages import subjects
from trimtab.messages.events import ProjectChanged, RecordChanged
from trimtab.settings.namespaces import NamespaceTarget
from trimtab.settings.state import Settings
from trimtab_admin import migrations, slices
from trimtab_admin.steps import Steps
from trimtab_admin.storage import namespace_names, outbox, overlays, tables
from trimtab_admin.storage.database import Sessions, reading_sessions_of, sessions_of, transaction
from trimtab_admin.storage.outbox import Write
from trimtab_admin.storage.tree import AT_ONCE, Tree

REVISION = sa.select(tables.revision.c.value)
END_OTHERS = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


class Database(NamedTuple):
    writing: Sessions
    reading: Sessions

    async def write(self, changes: int = 1) -> int:
        """Commit changes as another process would, in one transaction; return the last revision."""
        events = [ProjectChanged(name="shop")]
        events += [ProjectChanged(name=f"shop-{number}") for number in range(1, changes)]
        writes = [Write(subjects.project(event.name), event) for event in events]
        async with transaction(self.writing) as session:
            return (await outbox.append(session, writes))[-1]

    async def forget_sent(self) -> None:
        """Delete all rows of the outbox, as the relay does long after it has published them."""
        async with transaction(self.writing) as session:
            await session.execute(tables.outbox.delete())


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


async def rounds_during(work: Awaitable[object]) -> int:
    """Return how often the event loop ran other tasks during the work."""
    task, rounds = asyncio.ensure_future(work), 0
    while not task.done():
        await asyncio.sleep(0)
        rounds += 1
    await task
    return rounds


@pytest.mark.parametrize("is_published", [True, False])
@BOTH
async def test_many_changes_are_applied_in_slices(database: Database, is_published: bool) -> None:
    """They are loaded where their rows have been deleted from the outbox, and else caught up."""
    tree = Tree()
    await database.write()
    await tree.latest(database.reading)
    await database.write(20 * slices.SIZE)
    if is_published:
        await database.forget_sent()
    assert await rounds_during(tree.latest(database.reading)) >= 20
    assert len(tree.unverified.projects) == 20 * slices.SIZE


@BOTH
async def test_revisions_for_the_digest_are_read_in_slices(database: Database) -> None:
    assert await outbox.fetch_live_revisions(database.reading) == (0, [])
    revision = await database.write(20 * slices.SIZE)
    reads: list[Coroutine[Any, Any, tuple[int, list[Any]]]] = [
        outbox.fetch_live_revisions(database.reading),
        outbox.fetch_live_revisions_after(database.reading, 0),
    ]
    for read in reads:
        reading = asyncio.ensure_future(read)
        assert await rounds_during(reading) >= 4
        current, found = reading.result()
        assert (current, len(found), found[0]) == (revision, revision, ("trimtab.projects.shop", 1))


@BOTH
async def test_the_names_of_namespaces_are_read_and_stored_in_slices(database: Database) -> None:
    targets = {f"n{number}": NamespaceTarget("p", f"{number}") for number in range(5_000)}
    others = {name: NamespaceTarget("q", target.domain) for name, target in targets.items()}
    async with transaction(database.writing) as session:
        for names in (targets, others):
            assert await rounds_during(namespace_names.replace(session, names)) >= 10
            assert await namespace_names.read(session) == names


@pytest.mark.parametrize("size", [5 * slices.SIZE, 2 * AT_ONCE])
@BOTH
async def test_no_read_sees_a_part_of_a_transaction(database: Database, size: int) -> None:
    tree, commits = Tree(), {0}
    for _ in range(3):
        commits.add(await database.write(size))
        reading = asyncio.ensure_future(tree.latest(database.reading))
        # Whatever a read takes is in memory, in any round of the event loop.
        while not reading.done():
            assert tree.unverified.revision in commits
            assert len(tree.unverified.projects) in (0, size)
            await asyncio.sleep(0)
    assert tree.unverified.revision == max(commits)


@BOTH
async def test_reads_show_the_settings_before_a_large_commit_while_it_is_applied(
    database: Database,
) -> None:
    tree = Tree()
    first = await database.write()
    await tree.latest(database.reading)
    large = await database.write(2 * AT_ONCE)
    assert (await tree.shown(database.reading)).revision == first
    small = await database.write()
    assert (await tree.shown(database.reading)).revision == first
    # What needs everything that was committed waits.
    assert (await tree.latest(database.reading)).revision == small > large
    assert (await tree.shown(database.reading)).revision == small


@BOTH
async def test_reads_do_not_wait_while_a_transaction_applies_a_large_commit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree()
    first = await database.write()
    await tree.latest(database.reading)
    large = await database.write(2 * AT_ONCE)
    copy, is_copying, is_shown = overlays.copy, asyncio.Event(), False

    def copy_slowly(settings: Settings) -> Steps[Settings]:
        copied = yield from copy(settings)
        is_copying.set()
        while not is_shown:
            yield
        return copied

    async def lock() -> Settings:
        async with transaction(database.writing) as session:
            return await tree.locked(session)

    monkeypatch.setattr(overlays, "copy", copy_slowly)
    locking = asyncio.create_task(lock())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await is_copying.wait()
        assert (await tree.shown(database.reading)).revision == first
        is_shown = True
        assert (await locking).revision == large
        assert (await tree.latest(database.reading)).revision == large


@BOTH
async def test_a_failure_in_the_middle_of_a_large_commit_shows_no_part_of_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree()
    await database.write()
    before = (await tree.latest(database.reading)).revision
    after = await database.write(3 * AT_ONCE)
    read, reads = outbox.changes_between, 0

    async def read_in_part(*arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        if reads == 4:
            raise Unavailable("it is gone")
        return await read(*arguments)

    monkeypatch.setattr(outbox, "changes_between", read_in_part)
    waiting = [asyncio.create_task(tree.latest(database.reading)) for _ in range(2)]
    async with transaction(database.reading) as session:
        waiting.append(asyncio.create_task(tree.current(session)))
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    seen = {each.revision for each in outcomes if isinstance(each, Settings)}
    assert any(isinstance(each, Unavailable) for each in outcomes)
    assert seen <= {after}
    assert tree.unverified.revision in (before, after)
    assert (await tree.latest(database.reading)).revision == after


async def test_a_failure_behind_reads_that_go_on_is_logged(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tree = Tree()
    await database.write()
    before = (await tree.latest(database.reading)).revision
    await database.write(2 * AT_ONCE)

    def fail(_settings: Settings) -> Steps[Settings]:
        raise Unavailable("it is gone")

    monkeypatch.setattr(overlays, "copy", fail)
    with pytest.raises(Unavailable):
        await tree.latest(database.reading)
    assert (await tree.shown(database.reading)).revision == before
    await tree.close()
    [warning, *_] = [each for each in caplog.records if each.message == "settings.outdated"]
    assert vars(warning)["error"] == "it is gone"


async def test_the_work_for_a_large_commit_ends_with_the_tree(database: Database) -> None:
    tree = Tree()
    await database.write()
    before = (await tree.latest(database.reading)).revision
    await database.write(2 * AT_ONCE)
    await tree.shown(database.reading)
    await tree.close()
    assert tree.unverified.revision == before


async def test_a_copy_has_what_was_applied_while_it_was_made(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree()
    await database.write(20)
    await tree.latest(database.reading)
    copy, is_changed = overlays.copy, False

    def copy_slowly(settings: Settings) -> Steps[Settings]:
        copied = yield from copy(settings)
        while not is_changed:
            yield
        return copied

    monkeypatch.setattr(overlays, "copy", copy_slowly)
    copying = asyncio.create_task(tree.copy())
    await asyncio.sleep(0)
    await database.write(5 * slices.SIZE)
    held = await tree.latest(database.reading)
    is_changed = True
    copied = await copying
    assert copied is not held
    assert (copied.revision, copied.projects) == (held.revision, held.projects)
    assert str(copied.digest) == str(held.digest)


async def test_a_commit_of_this_process_is_applied_in_slices_too(database: Database) -> None:
    tree = Tree()
    await database.write()
    before = (await tree.latest(database.reading)).revision
    writes = [
        Write(subjects.project(f"lab-{number}"), ProjectChanged(name=f"lab-{number}"))
        for number in range(2 * AT_ONCE)
    ]
    assert await rounds_during(tree.apply(writes, before)) >= 5
    assert tree.unverified.revision == before + len(writes)


async def test_reads_wait_neither_while_a_large_commit_is_prepared_nor_after_it(
    database: Database,
) -> None:
    tree = Tree()
    await database.write()
    held = await tree.latest(database.reading)
    before = held.revision
    writes = [
        Write(subjects.project(f"lab-{number}"), ProjectChanged(name=f"lab-{number}"))
        for number in range(2 * AT_ONCE)
    ]
    preparing = asyncio.ensure_future(tree.prepare(writes, before))
    reads = 0
    while not preparing.done():
        assert await tree.latest(database.reading) is held
        reads += 1
    assert reads >= 5
    assert (held.revision, len(held.projects)) == (before, 1)
    async with transaction(database.writing) as session:
        await outbox.append(session, writes)
    assert await rounds_during(tree.apply(writes, before, await preparing)) <= 2
    assert len((await tree.latest(database.reading)).projects) == 1 + len(writes)
    assert tree.unverified is not held


async def test_what_was_prepared_for_other_settings_is_not_shown(database: Database) -> None:
    tree = Tree()
    await database.write()
    before = (await tree.latest(database.reading)).revision
    event = ProjectChanged(name="lab")
    writes = [Write(subjects.project("lab"), event)] * (2 * AT_ONCE)
    prepared = await tree.prepare(writes, before)
    assert prepared is not None
    newer = await database.write()
    await tree.latest(database.reading)
    assert await tree.prepare(writes, before) is None
    await tree.apply(writes, before, prepared)
    # A read finds the rest in the database.
    assert tree.unverified.revision in (newer, before + len(writes))
    assert "shop" in tree.unverified.projects


async def test_prepared_commits_that_are_shown_during_a_read_are_not_set_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree()
    await database.write()
    before = (await tree.latest(database.reading)).revision
    has_read, go_on = asyncio.Event(), asyncio.Event()
    read = outbox.changes_between

    async def read_slowly(*arguments: Any) -> Any:
        rows = await read(*arguments)
        has_read.set()
        await go_on.wait()
        return rows

    async def commit(before: int, description: str, reading: asyncio.Task[Any] | None) -> None:
        writes = [
            Write(
                subjects.project(f"lab-{number}"),
                ProjectChanged(name=f"lab-{number}", description=description),
            )
            for number in range(AT_ONCE + 1)
        ]
        prepared = await tree.prepare(writes, before)
        async with transaction(database.writing) as session:
            await outbox.append(session, writes)
        if reading is None:
            monkeypatch.setattr(outbox, "changes_between", read_slowly)
            readings.append(asyncio.create_task(tree.latest(database.reading)))
            await has_read.wait()
        await tree.apply(writes, before, prepared)

    readings: list[asyncio.Task[Any]] = []
    await commit(before, "first", None)
    await commit(before + AT_ONCE + 1, "second", readings[0])
    go_on.set()
    projects = (await readings[0]).projects
    assert {projects[f"lab-{n}"].description for n in range(AT_ONCE + 1)} == {"second"}


@BOTH
async def test_a_transaction_that_began_before_a_change_does_not_set_the_tree_back(
    database: Database,
) -> None:
    tree = Tree()
    await database.write()
    held = await tree.latest(database.reading)
    async with transaction(database.reading) as session:
        await session.scalar(REVISION)
        newest = await database.write()
        await tree.latest(database.reading)
        assert await tree.current(session) is held
    assert held.revision == newest


@BOTH
async def test_a_database_that_was_replaced_is_read_again_once_and_not_ready_until_then(
    database: Database,
) -> None:
    tree = Tree()
    assert tree.is_loading
    await database.write(5)
    old = await tree.latest(database.reading)
    assert not tree.is_loading
    async with transaction(database.writing) as session:
        await session.execute(tables.settings.delete().where(tables.settings.c.revision > 2))
        await session.execute(tables.revision.update().values(value=2))
    reads = [asyncio.ensure_future(tree.latest(database.reading)) for _ in range(10)]
    was_loading = False
    while not all(read.done() for read in reads):
        was_loading |= tree.is_loading
        await asyncio.sleep(0)
    found = {id(await read) for read in reads}
    assert found == {id(tree.unverified)} != {id(old)}
    assert sorted(tree.unverified.projects) == ["shop", "shop-1"]
    assert (was_loading, tree.is_loading) == (True, False)


async def test_only_what_can_be_declared_is_read_for_the_declarations(database: Database) -> None:
    scopes = (SETTINGS_FILE, PLATFORM, Scope("staging"), Scope("staging", "shop"))
    writes = [Write(subjects.project("shop"), ProjectChanged(name="shop"))]
    for scope in scopes:
        event = RecordChanged.at(scope, "workflow_priority", {"priority": 1})
        writes.append(Write(subjects.attributes("workflow_priority", scope), event))
    async with transaction(database.writing) as session:
        await outbox.append(session, writes)
    settings = Settings()
    async with transaction(database.reading) as session:
        assert await outbox.load(session, settings.apply, outbox.DECLARABLE) == len(writes)
    assert list(settings.projects) == ["shop"]
    assert list(settings.records["workflow_priority"]) == [SETTINGS_FILE]
