"""A committed change reaches the stream once, in revision order, whatever is killed when."""

import asyncio
import multiprocessing
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from nats.aio.client import Client

from tests.databases import BOTH
from tests.integration.admin import relay_process
from tests.servers import NatsServer
from trimtab.messages import subjects
from trimtab.messages.events import COMMIT, REVISION, Watermark
from trimtab.runtime import bus
from trimtab_admin.storage import outbox, tables
from trimtab_admin.storage.database import Sessions, reading_sessions_of, sessions_of
from trimtab_admin.storage.relay import Relay

ROUNDS = 20


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


async def committed(sessions: Sessions) -> list[int]:
    query = sa.select(tables.outbox.c.revision).order_by(tables.outbox.c.revision)
    async with sessions() as session:
        return list((await session.execute(query)).scalars())


async def published(client: Client) -> list[int]:
    """Revisions in the order of the stream, watermarks left out."""
    messages = await bus.read_all(client, subjects.SETTINGS, "trimtab.domains.*")
    return [int(message.headers[REVISION]) for message in messages]


async def watermark(client: Client) -> Watermark | None:
    messages = await bus.read_all(client, subjects.SETTINGS, subjects.WATERMARK)
    return Watermark.model_validate_json(messages[-1].body) if messages else None


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[None]:
    """While the relay is at work; its failure is the test's."""
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        task = group.create_task(relay.run())
        yield
        task.cancel()


async def all_marked(sessions: Sessions) -> bool:
    unsent = sa.select(sa.func.count()).where(tables.outbox.c.sent_at.is_(None))
    async with sessions.begin() as session:
        return not await session.scalar(unsent)


async def relay_until_quiet(
    client: Client, sessions: Sessions, reading: Sessions, revision: int = 0
) -> None:
    """Until a watermark says that everything up to the revision is sent, and it is marked so."""
    async with sessions.begin() as session:
        revision = revision or await outbox.lock(session)
    async with running(Relay(client, sessions, reading)):
        while (mark := await watermark(client)) is None or mark.revision < revision:
            await asyncio.sleep(0.02)
        while not await all_marked(sessions):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("backend", "point"),
    [*(("sqlite", point) for point in relay_process.POINTS), ("postgresql", "before publish")],
)
async def test_a_relay_killed_twenty_times_loses_and_doubles_nothing(
    client: Client,
    nats_server: NatsServer,
    database_url: str,
    sessions: Sessions,
    reading: Sessions,
    point: str,
) -> None:
    # A fork of a process that has everything imported makes a round cheap.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([relay_process.__name__])
    for number in range(ROUNDS):
        arguments = (database_url, nats_server.url, f"round-{number}", point)
        process = processes.Process(target=relay_process.main, args=arguments)
        process.start()
        await asyncio.to_thread(process.join, 30)
        assert process.exitcode == -9
    await relay_until_quiet(client, sessions, reading)
    assert await published(client) == await committed(sessions)
    lost = 0 if point == "before commit" else 2
    assert len(await committed(sessions)) == ROUNDS * (5 + lost)


async def test_changes_of_one_transaction_carry_one_commit(
    client: Client, sessions: Sessions, reading: Sessions
) -> None:
    revisions = await write(sessions, "together")
    await relay_until_quiet(client, sessions, reading)
    messages = await bus.read_all(client, subjects.SETTINGS, "trimtab.domains.*")
    assert [int(m.headers[REVISION]) for m in messages] == revisions
    assert {int(m.headers[COMMIT]) for m in messages} == {revisions[-1]}


@BOTH
async def test_of_two_relays_each_change_is_published_by_one(
    client: Client, sessions: Sessions, reading: Sessions
) -> None:
    async with running(Relay(client, sessions, reading)), running(Relay(client, sessions, reading)):
        for number in range(30):
            await write(sessions, f"write-{number}")
            await asyncio.sleep(0.01)
    await relay_until_quiet(client, sessions, reading)
    assert await published(client) == await committed(sessions)


@BOTH
async def test_a_wiped_stream_is_filled_again_with_everything_that_lives(
    client: Client, nats_server: NatsServer, sessions: Sessions, reading: Sessions
) -> None:
    await write(sessions, "before", 5)
    await relay_until_quiet(client, sessions, reading)
    told = asyncio.Event()

    async def lost() -> None:
        told.set()

    async with running(Relay(client, sessions, reading, on_resync=lost, watermark_seconds=0.2)):
        await asyncio.to_thread(nats_server.wipe)
        await told.wait()
    await relay_until_quiet(client, sessions, reading)
    async with sessions.begin() as session:
        state = await outbox.load(session)
    mark = await watermark(client)
    assert mark is not None
    assert (mark.count, mark.digest) == (5, str(state.digest))
    assert await published(client) == list(range(6, 11))


@BOTH
async def test_a_stream_that_is_ahead_of_the_database_loses_what_the_database_lacks(
    client: Client, sessions: Sessions, reading: Sessions
) -> None:
    """As after restoring a backup: the subjects of the lost changes get tombstones."""
    await write(sessions, "kept", 2)
    await relay_until_quiet(client, sessions, reading)
    async with sessions.begin() as session:
        await session.execute(tables.outbox.delete().where(tables.outbox.c.revision == 2))
        await session.execute(tables.settings.delete().where(tables.settings.c.revision == 2))
        await session.execute(tables.revision.update().values(value=1))
    await relay_until_quiet(client, sessions, reading, revision=4)
    last = {m.subject: m.body for m in await bus.read_all(client, subjects.SETTINGS, "trimtab.>")}
    assert b'"deleted":true' in last[subjects.domain("kept-1")]
    assert b'"deleted":false' in last[subjects.domain("kept-0")]


async def test_one_that_looked_before_another_published_everything_stands_by(
    client: Client, sessions: Sessions, reading: Sessions
) -> None:
    await write(sessions, "ours", 3)
    late = Late(client, sessions, reading)
    async with running(late):
        await late.looked.wait()
        await relay_until_quiet(client, sessions, reading)
        late.go_on.set()
        while late.is_leader or late.sent < 3:
            await asyncio.sleep(0.02)


class Late(Relay):
    """Held up between its look at the stream and what it does with that."""

    def __init__(self, client: Client, sessions: Sessions, reading: Sessions) -> None:
        super().__init__(client, sessions, reading)
        self.looked, self.go_on = asyncio.Event(), asyncio.Event()

    async def _mark_sent(self) -> None:
        self.looked.set()
        await self.go_on.wait()
        await super()._mark_sent()


async def test_a_message_of_somebody_else_makes_everything_be_said_again(
    client: Client, sessions: Sessions, reading: Sessions
) -> None:
    await write(sessions, "ours", 3)
    await relay_until_quiet(client, sessions, reading)
    async with sessions.begin() as session:
        # As after a crash before the rows were marked: the stream knows them by their ids.
        await session.execute(tables.outbox.update().values(sent_at=None))
        await session.execute(
            tables.outbox.update()
            .where(tables.outbox.c.revision == 1)
            .values(sent_at=datetime.now(UTC))
        )
    stray = subjects.domain("stray")
    await client.jetstream().publish(stray, b"{}")
    await relay_until_quiet(client, sessions, reading)
    last = {m.subject: m.body for m in await bus.read_all(client, subjects.SETTINGS, "trimtab.>")}
    assert b'"deleted":true' in last[stray]
    assert b'"deleted":false' in last[subjects.domain("ours-2")]


async def test_writes_go_on_while_nats_is_away(
    client: Client, nats_server: NatsServer, sessions: Sessions, reading: Sessions
) -> None:
    async with running(Relay(client, sessions, reading)):
        await asyncio.to_thread(nats_server.kill)
        await write(sessions, "outage", 10)
        await asyncio.to_thread(nats_server.start)
    await relay_until_quiet(client, sessions, reading)
    assert await published(client) == await committed(sessions)
