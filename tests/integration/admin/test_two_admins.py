"""Two admins on one PostgreSQL: both serve, one leads the relay, and either may end or pause."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import replace

import httpx
import pytest
import sqlalchemy as sa
from nats.aio.client import Client

from tests import databases
from tests.integration.admin.logs import append, events_of
from tests.integration.admin.processes import Admin, leader
from tests.integration.admin.running import (
    FORCE,
    PATIENCE_SECONDS,
    SCOPE,
    execute,
    register,
    until,
    workflow,
)
from tests.servers import NatsServer
from trimtab.messages import subjects
from trimtab.messages.events import REVISION
from trimtab.runtime import bus
from trimtab_admin.storage import outbox, tables
from trimtab_admin.storage.database import reading_sessions_of, sessions_of, transaction


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="module")
def database_url(postgres_url: str) -> Iterator[str]:
    with databases.fresh(postgres_url) as url:
        yield url


@pytest.fixture(scope="module")
def processes(
    tmp_path_factory: pytest.TempPathFactory, nats_server: NatsServer, database_url: str
) -> Iterator[list[Admin]]:
    """Two admins that start at the same time on an empty database."""
    directory = tmp_path_factory.mktemp("admins")
    admins = [Admin(directory, nats_server.url, database_url) for _ in range(2)]
    with ExitStack() as stack:
        for admin in admins:
            stack.enter_context(admin.running())
        yield admins


@pytest.fixture
async def pair(processes: list[Admin]) -> AsyncIterator[list[Admin]]:
    """Both admins, running and ready, whatever an earlier test did to them."""
    async with processes[0].new_client(), processes[1].new_client():
        for admin in processes:
            admin.start()
            admin.send(signal.SIGCONT)
            await until(admin.ready)
        yield processes


class Published:
    """Records the revisions of new messages in SETTINGS, without watermarks."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._caught_up = asyncio.Event()
        self.start = 0
        """The last revision that the stream had at the start. Earlier messages may be replaced."""
        self.revisions: list[int] = []

    async def _read(self) -> None:
        messages = bus.follow(self._client, subjects.SETTINGS, "trimtab.>", every_message=True)
        async with aclosing(messages):
            async for message in messages:
                if message is None:
                    self._caught_up.set()
                elif not self._caught_up.is_set():
                    self.start = int(message.headers[REVISION])
                elif message.subject != subjects.WATERMARK:
                    self.revisions.append(int(message.headers[REVISION]))

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Published"]:
        # The server may not deliver a message that a newer one on its subject replaced.
        async with keep_every_message(self._client):
            reading = asyncio.create_task(self._read())
            try:
                await self._caught_up.wait()
                yield self
            finally:
                reading.cancel()

    async def has(self, count: int) -> bool:
        return len(self.revisions) > count

    async def has_all(self, database_url: str) -> bool:
        """Return whether every newer committed revision was published once, in order."""
        newer = [
            number for number in await committed_revisions(database_url) if number > self.start
        ]
        return self.revisions == newer


@asynccontextmanager
async def keep_every_message(client: Client) -> AsyncIterator[None]:
    """Let SETTINGS keep more than the last message of each subject.

    No admin may start meanwhile, because it would raise `Conflict` for these limits.
    """
    jetstream = client.jetstream()
    config = (await jetstream.stream_info(subjects.SETTINGS)).config
    await jetstream.update_stream(replace(config, max_msgs_per_subject=-1))
    try:
        yield
    finally:
        await jetstream.update_stream(config)


async def committed_revisions(database_url: str) -> list[int]:
    query = sa.select(tables.outbox.c.revision).order_by(tables.outbox.c.revision)
    sessions = reading_sessions_of(database_url)
    async with transaction(sessions) as session:
        revisions = list(await session.scalars(query))
    await sessions.kw["bind"].dispose()
    return revisions


class Load:
    """Four writers; each calls the next admin if one does not respond."""

    def __init__(self, pair: list[Admin]) -> None:
        self._clients = [admin.client for admin in pair]
        self._numbers = itertools.count(1)
        self.responses = 0

    async def write(self, writer: int) -> None:
        clients = itertools.cycle(self._clients[writer % 2 :] + self._clients[: writer % 2])
        client = next(clients)
        while True:
            body = {"priority": next(self._numbers) % 50 + 1}
            scope = {"domain": ("development", "staging")[writer % 2]}
            try:
                # A paused admin never responds.
                await client.put(
                    "/records/workflow_priority",
                    params=FORCE | scope,
                    json=body,
                    timeout=PATIENCE_SECONDS / 20,
                )
                self.responses += 1
            except httpx.TransportError:
                client = next(clients)

    async def has_responses(self, count: int) -> bool:
        return self.responses > count

    def stop(self) -> None:
        for writer in self._writers:
            writer.cancel()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        self._writers = [asyncio.create_task(self.write(writer)) for writer in range(4)]
        try:
            yield self
        finally:
            self.stop()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_takeover_of_the_relay_publishes_each_change_once_in_order(
    pair: list[Admin], client: Client, database_url: str, how: signal.Signals
) -> None:
    leading, standby = await leader(pair)
    async with Published(client).running() as published, Load(pair).running() as load:
        await until(lambda: published.has(50))
        leading.send(how)
        before = load.responses
        await until(standby.leads_relay)
        known = len(published.revisions)
        await until(lambda: published.has(known))
        await until(lambda: load.has_responses(before + 50))
        if how is signal.SIGSTOP:
            leading.send(signal.SIGCONT)
            await until(leading.ready)
        # The admin that was paused may still execute calls whose client gave up.
        load.stop()
        await until(lambda: published.has_all(database_url))


async def test_a_takeover_needs_no_answer_of_a_leader_that_is_paused_in_a_transaction(
    pair: list[Admin], client: Client, database_url: str
) -> None:
    leading, standby = await leader(pair)
    sessions = sessions_of(database_url)
    async with Published(client).running() as published, sessions() as session:
        await until(lambda: all_published(standby))
        known = len(published.revisions)
        # This transaction represents one of the paused admin.
        await outbox.lock(session)
        leading.send(signal.SIGSTOP)
        path = "/records/workflow_priority"
        await standby.client.put(path, params=FORCE, json={"priority": 7})
        await until(lambda: published.has(known))
        await session.invalidate()
    await sessions.kw["bind"].dispose()


async def test_an_admin_that_was_paused_becomes_a_standby_and_serves_again(
    pair: list[Admin], client: Client
) -> None:
    leading, standby = await leader(pair)
    leading.send(signal.SIGSTOP)
    await standby.client.post("/projects", json={"name": "basket"})
    await until(lambda: all_published(standby))
    leading.send(signal.SIGCONT)
    assert (await leading.client.get("/projects/basket")).status_code == 200
    answer = await leading.client.post("/projects", json={"name": "cart"})
    assert answer.status_code == 201
    await until(lambda: all_published(leading))
    assert await leader(pair) == (standby, leading)
    assert len(await bus.read_all(client, subjects.SETTINGS, subjects.project("cart"))) == 1


async def test_each_admin_returns_what_the_other_one_has_committed(pair: list[Admin]) -> None:
    one, another = pair
    for number in range(1, 11):
        body = {"priority": number}
        written = await one.client.put("/records/workflow_priority", params=FORCE, json=body)
        read = await another.client.get("/records/workflow_priority")
        assert read.json() == written.json()
        one, another = another, one


async def test_of_concurrent_api_tokens_with_one_name_one_is_created_and_both_admins_revoke_it(
    pair: list[Admin],
) -> None:
    body = {"name": "ci", "grants": [{"role": "viewer"}]}
    answers = await asyncio.gather(
        *(pair[number % 2].client.post("/tokens", json=body) for number in range(6))
    )
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]
    [created] = [answer.json() for answer in answers if answer.status_code == 201]
    headers = {"Authorization": f"Bearer {created['secret']}"}

    async def statuses() -> list[int]:
        return [(await each.client.get("/kinds", headers=headers)).status_code for each in pair]

    await until(lambda: returns(statuses, [200, 200]))
    await pair[0].client.delete(f"/tokens/{created['id']}")
    await until(lambda: returns(statuses, [401, 401]))


async def returns(call: Callable[[], Awaitable[object]], result: object) -> bool:
    return await call() == result


async def test_writers_of_one_record_on_two_admins_lose_no_update(
    pair: list[Admin],
) -> None:
    path = "/records/workflow_priority"
    await pair[0].client.put(path, params=FORCE, json={"priority": 1})

    async def add(number: int) -> None:
        client = pair[number % 2].client
        while True:
            stored = await client.get(path)
            body = {"priority": stored.json()["document"]["priority"] + 1}
            seen = {"If-Match": stored.headers["ETag"]}
            answer = await client.put(path, json=body, headers=seen)
            if answer.is_success:
                return
            assert answer.status_code == 412, answer.text

    await asyncio.gather(*(add(number) for number in range(20)))
    final = (await pair[0].client.get(path)).json()
    assert final["document"] == {"priority": 21}


async def test_executions_of_both_admins_are_requested_once_and_either_stores_their_logs(
    pair: list[Admin], client: Client
) -> None:
    one, another = pair
    await one.client.post("/projects", json={"name": "shop"})
    await register(one.client, workflow())
    created = [(await execute(pair[number % 2].client)).json()["id"] for number in range(10)]
    await until(lambda: requested(client, len(created)))
    # Each requester reads all executions again when its admin has created one.
    created += [(await execute(each.client)).json()["id"] for each in pair]
    await until(lambda: requested(client, len(created)))
    for execution in created[:5]:
        await append(client, *events_of(execution))
    await until(lambda: succeeded(one, 5))
    one.send(signal.SIGKILL)
    for execution in created[5:]:
        await append(client, *events_of(execution))
    await until(lambda: succeeded(another, len(created)))


async def requested(client: Client, count: int) -> bool:
    state = (await client.jetstream().stream_info(subjects.EXECUTIONS)).state
    return bool(state.messages == count)


async def succeeded(admin: Admin, count: int) -> bool:
    listed = (await admin.client.get("/executions", params=SCOPE)).json()
    return [body["phase"] for body in listed].count("succeeded") == count


async def all_published(admin: Admin) -> bool:
    status = await admin.status()
    return bool(status["revision"] == status["sent_revision"])
