"""The relay publishes each committed change once, in the order of revisions, whatever is killed."""

import asyncio
import itertools
import multiprocessing
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

import pytest
import sqlalchemy as sa
from nats.aio.client import Client

from tests import strays
from tests.databases import BOTH
from tests.integration.admin import relay_process
from tests.servers import PATIENCE_SECONDS, NatsServer
from tests.strays import Stray
from trimtab.messages import parsing, subjects
from trimtab.messages.events import COMMIT, REVISION, DomainChanged, Watermark
from trimtab.messages.parsing import Foreign
from trimtab.runtime import bus
from trimtab.settings.state import Settings
from trimtab.settings.view import View
from trimtab_admin.access.authorization import ROOT
from trimtab_admin.storage import commits, outbox, tables
from trimtab_admin.storage import relay as relay_module
from trimtab_admin.storage.commits import Transaction
from trimtab_admin.storage.database import (
    Sessions,
    fetch_value,
    reading_sessions_of,
    sessions_of,
)
from trimtab_admin.storage.outbox import Author, OutboxRow
from trimtab_admin.storage.relay import Relay

ROUNDS = 20
AUTHOR = Author(ROOT)


@pytest.fixture(scope="session")
def forking() -> ForkServerContext:
    """Processes that are forks of one that has imported everything, which makes a round fast."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([relay_process.__name__])
    forkserver.ensure_running()
    return context


@pytest.fixture
async def sessions(database_url: str) -> AsyncIterator[Sessions]:
    sessions = sessions_of(database_url)
    async with sessions.kw["bind"].begin() as connection:
        await connection.run_sync(tables.metadata.create_all)
        await connection.execute(tables.revision.insert().values(id=1, value=0))
    yield sessions
    await sessions.kw["bind"].dispose()


@pytest.fixture
async def reading(database_url: str) -> AsyncIterator[Sessions]:
    reading = reading_sessions_of(database_url)
    yield reading
    await reading.kw["bind"].dispose()


async def write(sessions: Sessions, prefix: str, count: int = 3) -> list[int]:
    async with sessions.begin() as session:
        return await outbox.append(session, relay_process.domains(prefix, count))


async def committed_revisions(sessions: Sessions) -> list[int]:
    query = sa.select(tables.outbox.c.revision).order_by(tables.outbox.c.revision)
    async with sessions() as session:
        return list((await session.execute(query)).scalars())


async def published_revisions(client: Client) -> list[int]:
    """Return the revisions in the order of the stream, without watermarks."""
    messages = await bus.read_all(client, subjects.SETTINGS, "trimtab.domains.*")
    return [int(message.headers[REVISION]) for message in messages]


async def last_watermark(client: Client) -> Watermark | None:
    messages = await bus.read_all(client, subjects.SETTINGS, subjects.WATERMARK)
    with suppress(Foreign):
        return parsing.watermark(messages[-1].headers, messages[-1].body) if messages else None
    return None


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[None]:
    """Run the relay during the block; its error fails the test."""
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        task = group.create_task(relay.run())
        yield
        task.cancel()


async def all_marked(sessions: Sessions) -> bool:
    unsent = sa.select(sa.func.count()).where(tables.outbox.c.sent_at.is_(None))
    async with sessions.begin() as session:
        return not await session.scalar(unsent)


async def relay_until_sent(
    client: Client, sessions: Sessions, reading: Sessions, revision: int = 0
) -> None:
    """Run a relay until a watermark confirms the revision and all rows are marked as sent."""
    async with sessions.begin() as session:
        revision = revision or await outbox.lock(session)
    async with running(Relay(client, sessions, reading)):
        while (mark := await last_watermark(client)) is None or mark.revision < revision:
            await asyncio.sleep(0.02)
        while not await all_marked(sessions):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("backend", "point"),
    [*(("sqlite", point) for point in relay_process.POINTS), ("postgresql", "before publish")],
)
async def test_a_relay_that_is_killed_twenty_times_publishes_each_change_once(
    client: Client,
    nats_server: NatsServer,
    database_url: str,
    sessions: Sessions,
    reading: Sessions,
    forking: ForkServerContext,
    point: str,
) -> None:
    for number in range(ROUNDS):
        arguments = (database_url, nats_server.url, f"round-{number}", point)
        process = forking.Process(target=relay_process.main, args=arguments)
        process.start()
        await asyncio.to_thread(process.join, PATIENCE_SECONDS)
        assert process.exitcode == -9
    await relay_until_sent(client, sessions, reading)
    assert await published_revisions(client) == await committed_revisions(sessions)
    lost = 0 if point == "before commit" else 2
    assert len(await committed_revisions(sessions)) == ROUNDS * (5 + lost)


async def test_changes_of_one_transaction_have_one_commit(
    client: Client, sessions: Sessions, reading: Sessions
) -> None:
    revisions = await write(sessions, "together")
    await relay_until_sent(client, sessions, reading)
    messages = await bus.read_all(client, subjects.SETTINGS, "trimtab.domains.*")
    assert [int(m.headers[REVISION]) for m in messages] == revisions
    assert {int(m.headers[COMMIT]) for m in messages} == {revisions[-1]}


@BOTH
async def test_with_two_relays_each_change_is_published_once(
    client: Client, sessions: Sessions, reading: Sessions
) -> None:
    async with running(Relay(client, sessions, reading)), running(Relay(client, sessions, reading)):
        for number in range(30):
            await write(sessions, f"write-{number}")
            await asyncio.sleep(0.01)
    await relay_until_sent(client, sessions, reading)
    assert await published_revisions(client) == await committed_revisions(sessions)


@BOTH
async def test_everything_live_is_published_again_after_a_wipe_of_the_stream(
    client: Client, nats_server: NatsServer, sessions: Sessions, reading: Sessions
) -> None:
    await write(sessions, "before", 5)
    await relay_until_sent(client, sessions, reading)
    resynced = asyncio.Event()

    async def on_resync() -> None:
        resynced.set()

    async with running(
        Relay(client, sessions, reading, on_resync=on_resync, watermark_seconds=0.2)
    ):
        await asyncio.to_thread(nats_server.wipe)
        await resynced.wait()
    await relay_until_sent(client, sessions, reading)
    state = Settings()
    async with sessions.begin() as session:
        await outbox.load(session, state.apply)
    mark = await last_watermark(client)
    assert mark is not None
    assert (mark.count, mark.digest) == (5, str(state.digest))
    assert await published_revisions(client) == list(range(6, 11))


@BOTH
async def test_subjects_that_only_the_stream_has_get_tombstones(
    client: Client, sessions: Sessions, reading: Sessions
) -> None:
    """The database is behind the stream after a backup was restored."""
    await write(sessions, "kept", 2)
    await relay_until_sent(client, sessions, reading)
    async with sessions.begin() as session:
        await session.execute(tables.outbox.delete().where(tables.outbox.c.revision == 2))
        await session.execute(tables.settings.delete().where(tables.settings.c.revision == 2))
        await session.execute(tables.revision.update().values(value=1))
    await relay_until_sent(client, sessions, reading, revision=4)
    last = {m.subject: m.body for m in await bus.read_all(client, subjects.SETTINGS, "trimtab.>")}
    assert b'"deleted":true' in last[subjects.domain("kept-1")]
    assert b'"deleted":false' in last[subjects.domain("kept-0")]


async def test_a_relay_that_read_the_stream_before_another_one_published_becomes_a_standby(
    client: Client, sessions: Sessions, reading: Sessions
) -> None:
    await write(sessions, "ours", 3)
    late = LateRelay(client, sessions, reading)
    async with running(late):
        await late.has_read.wait()
        await relay_until_sent(client, sessions, reading)
        late.go_on.set()
        while late.is_leader or late.sent < 3:
            await asyncio.sleep(0.02)


class LateRelay(Relay):
    """Waits between reading the end of the stream and marking the rows."""

    def __init__(self, client: Client, sessions: Sessions, reading: Sessions) -> None:
        super().__init__(client, sessions, reading)
        self.has_read, self.go_on = asyncio.Event(), asyncio.Event()

    async def _mark_sent(self) -> None:
        self.has_read.set()
        await self.go_on.wait()
        await super()._mark_sent()


FOREIGN = [
    Stray(b"trimtab.attributes.hello", None, b"{}"),
    Stray(subjects.domain("stray").encode(), None, b"{}"),
    Stray(subjects.WATERMARK.encode(), None, b"{}"),
    Stray(b"trimtab.domains.=00", None, b""),
    Stray(b"trimtab.domains.a\x00\x0b\xff", b"\r\ntrimtab-revision: 1\xff", b"\xff"),
    Stray(b"trimtab.projects.a", b"\r\ntrimtab-revision: 99\r\ntrimtab-commit: 99", b"{}"),
    Stray(b"trimtab.projects.a", b" 100\r\n", b""),
]
"""Messages of no relay, on subjects that are not live."""


@BOTH
async def test_messages_that_no_relay_published_change_nothing(
    client: Client, nats_server: NatsServer, sessions: Sessions, reading: Sessions
) -> None:
    await write(sessions, "ours", 3)
    await relay_until_sent(client, sessions, reading)
    await strays.publish(nats_server, FOREIGN)
    relay = Relay(client, sessions, reading, watermark_seconds=0.2)
    async with running(relay):
        for number in range(10):
            await strays.publish(nats_server, FOREIGN)
            await write(sessions, f"write-{number}", 1)
            while relay.sent < 4 + number:
                await asyncio.sleep(0.02)
    await strays.publish(nats_server, FOREIGN)
    await relay_until_sent(client, sessions, reading)
    assert await committed_revisions(sessions) == list(range(1, 14))  # nothing was resynced
    assert sorted((await published_live(client)).values()) == list(range(1, 14))


@BOTH
async def test_a_setting_whose_message_was_replaced_by_a_foreign_one_is_published_again(
    client: Client, nats_server: NatsServer, sessions: Sessions, reading: Sessions
) -> None:
    await write(sessions, "ours", 3)
    await relay_until_sent(client, sessions, reading)
    replaced = subjects.domain("ours-1").encode()
    await strays.publish(nats_server, [*FOREIGN, Stray(replaced, None, b"{}"), *FOREIGN])
    await relay_until_sent(client, sessions, reading, revision=4)
    assert await published_live(client) == {"ours-0": 1, "ours-1": 4, "ours-2": 3}
    assert await view_of(client) == {"ours-0", "ours-1", "ours-2"}


async def published_live(client: Client) -> dict[str, int]:
    """Return the revision of each domain in the stream."""
    found = {}
    for message in await bus.read_all(client, subjects.SETTINGS, "trimtab.domains.*"):
        with suppress(Foreign):
            change = parsing.settings_change(message.subject, message.headers, message.body)
            assert isinstance(change.event, DomainChanged)
            found[change.event.name] = change.revision
    return found


async def view_of(client: Client) -> set[str]:
    """Return the domains that a reader shows once a watermark has verified them."""
    view = View(client)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(view.follow())
        domains = set((await view.wait_for(0, PATIENCE_SECONDS)).domains)
        following.cancel()
    return domains


async def test_more_foreign_messages_than_are_searched_cause_a_resync(
    client: Client, nats_server: NatsServer, sessions: Sessions, reading: Sessions
) -> None:
    await write(sessions, "ours", 2)
    await relay_until_sent(client, sessions, reading)
    await strays.publish(nats_server, [FOREIGN[0]] * 1100)
    await relay_until_sent(client, sessions, reading, revision=4)
    assert await published_live(client) == {"ours-0": 3, "ours-1": 4}


class InterruptedRelay(Relay):
    """A foreign message comes between the rows that it publishes together."""

    interruptions = 0

    async def _publish(self, row: OutboxRow, last_sequence: int, last_event_id: str) -> int:
        if row.revision % 5 == 3 and self.interruptions < 4:
            self.interruptions += 1
            await self._client.publish(subjects.domain(f"stray-{self.interruptions}"), b"{}")
        return await super()._publish(row, last_sequence, last_event_id)


async def test_no_row_is_published_before_one_that_another_message_displaced(
    client: Client, sessions: Sessions, reading: Sessions
) -> None:
    await write(sessions, "before", 1)
    await relay_until_sent(client, sessions, reading)
    await write(sessions, "together", 20)
    relay = InterruptedRelay(client, sessions, reading)
    async with running(relay):
        while relay.sent < 21:
            await asyncio.sleep(0.02)
    assert relay.interruptions == 4
    messages = await bus.read_all(client, subjects.SETTINGS, "trimtab.domains.*")
    found = [int(m.headers[REVISION]) for m in messages if REVISION in m.headers]
    assert found == await committed_revisions(sessions)


async def commit(sessions: Sessions, name: str) -> list[OutboxRow]:
    """Commit one change as admin does, and return its rows."""
    before = await outbox.fetch_current_revision(sessions)
    writes = relay_process.domains(name, 1)
    return await commits.store_if_current(sessions, before, [Transaction(writes, AUTHOR)])


async def test_rows_that_the_process_committed_are_published_without_a_read(
    client: Client, sessions: Sessions, reading: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "_POLL_SECONDS", 10 * PATIENCE_SECONDS)
    relay = Relay(client, sessions, reading, watermark_seconds=10 * PATIENCE_SECONDS)
    async with running(relay):
        await commit(sessions, "first")
        relay.wake()
        while relay.sent < 1 or await last_watermark(client) is None:
            await asyncio.sleep(0.02)
        reads = 0
        read = outbox.fetch_to_publish

        async def count(reading: Sessions, after: int) -> list[OutboxRow]:
            nonlocal reads
            reads += 1
            return await read(reading, after)

        monkeypatch.setattr(outbox, "fetch_to_publish", count)
        for number in range(10):
            relay.publish_soon(await commit(sessions, f"more-{number}"))
        while relay.sent < 11:
            await asyncio.sleep(0.02)
        assert reads == 0
        await commit(sessions, "of-another-process")
        relay.wake()
        while relay.sent < 12:
            await asyncio.sleep(0.02)
        assert reads == 1
    assert await published_revisions(client) == await committed_revisions(sessions)


async def test_a_wake_up_during_a_read_of_the_outbox_is_not_lost(
    client: Client, sessions: Sessions, reading: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "_POLL_SECONDS", 10 * PATIENCE_SECONDS)
    relay = Relay(client, sessions, reading, watermark_seconds=10 * PATIENCE_SECONDS)
    async with running(relay):
        while await last_watermark(client) is None:
            await asyncio.sleep(0.02)
        read = outbox.fetch_to_publish

        async def commit_after_it(reading: Sessions, after: int) -> list[OutboxRow]:
            rows = await read(reading, after)
            monkeypatch.setattr(outbox, "fetch_to_publish", read)
            await commit(sessions, "second")
            relay.wake()
            return rows

        monkeypatch.setattr(outbox, "fetch_to_publish", commit_after_it)
        await commit(sessions, "first")
        relay.wake()
        while relay.sent < 2:
            await asyncio.sleep(0.02)
    assert await published_revisions(client) == [1, 2]


@BOTH
async def test_writers_that_never_pause_delay_no_watermark_and_no_mark(
    client: Client, sessions: Sessions, reading: Sessions
) -> None:
    relay = Relay(client, sessions, reading, watermark_seconds=0.1)

    async def write_on() -> None:
        for number in itertools.count():
            relay.publish_soon(await commit(sessions, f"w{number}"))
            await asyncio.sleep(0)

    async with (
        running(relay),
        asyncio.timeout(PATIENCE_SECONDS),
        asyncio.TaskGroup() as tasks,
    ):
        writing = tasks.create_task(write_on())
        while (mark := await last_watermark(client)) is None or mark.revision < 100:
            await asyncio.sleep(0.02)
        while not await fetch_value(reading, sa.select(sa.func.max(tables.outbox.c.sent_at))):
            await asyncio.sleep(0.02)
        assert not writing.done()
        writing.cancel()


@BOTH
async def test_rows_that_are_missing_late_or_repeated_are_published_once_and_in_order(
    client: Client, sessions: Sessions, reading: Sessions
) -> None:
    chance = random.Random(1)
    first, second = (Relay(client, sessions, reading) for _ in range(2))
    async with running(first), running(second):
        late: list[OutboxRow] = []
        for number in range(150):
            rows = await commit(sessions, f"write-{number}")
            relay = chance.choice((first, second))
            match chance.randrange(5):
                case 0:
                    late += rows
                    relay.wake()
                case 1:
                    relay.publish_soon(rows + rows)
                case 2:
                    relay.publish_soon(late)
                    relay.publish_soon(rows)
                    late = []
                case _:
                    relay.publish_soon(rows)
            if number % 10 == 0:
                await asyncio.sleep(0.02)
    await relay_until_sent(client, sessions, reading)
    assert await published_revisions(client) == await committed_revisions(sessions)


async def test_changes_are_committed_during_an_outage_of_nats_and_published_after_it(
    client: Client, nats_server: NatsServer, sessions: Sessions, reading: Sessions
) -> None:
    async with running(Relay(client, sessions, reading)):
        await asyncio.to_thread(nats_server.kill)
        await write(sessions, "outage", 10)
        await asyncio.to_thread(nats_server.start)
    await relay_until_sent(client, sessions, reading)
    assert await published_revisions(client) == await committed_revisions(sessions)
