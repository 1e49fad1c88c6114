"""Following a stream: the last message of each subject, then each new one, without gaps."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from nats.aio.client import Client

from tests.servers import PATIENCE_SECONDS, NatsServer
from trimtab.errors import Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import DomainChanged
from trimtab.messages.executions import NodeFailed, NodeStarting
from trimtab.runtime import bus
from trimtab.runtime.bus import StoredMessage
from trimtab.testing import entry
from trimtab_admin.messaging import streams

Following = AsyncGenerator[StoredMessage | None, None]


async def put(client: Client, name: str) -> int:
    event = DomainChanged(name=name)
    return await bus.publish(client, subjects.SETTINGS, subjects.domain(name), event)


def follow(client: Client) -> Following:
    return bus.follow(client, subjects.SETTINGS, "trimtab.>")


async def take(following: Following, count: int) -> list[StoredMessage | None]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [await anext(following) for _ in range(count)]


def names(messages: list[StoredMessage | None]) -> list[str | None]:
    return [message and subjects.name_of(message.subject) for message in messages]


async def test_the_end_of_the_stored_messages_is_yielded_once(client: Client) -> None:
    for name in ("a", "b", "a", "c"):
        await put(client, name)
    async with aclosing(follow(client)) as following:
        assert names(await take(following, 4)) == ["b", "a", "c", None]
        await put(client, "b")
        assert names(await take(following, 1)) == ["b"]


async def test_an_empty_stream_is_at_its_end_immediately(client: Client) -> None:
    async with aclosing(follow(client)) as following:
        assert await take(following, 1) == [None]
        await put(client, "a")
        [message] = await take(following, 1)
    assert message is not None
    assert (message.sequence, message.body) == (1, DomainChanged(name="a").body())


async def test_two_thousand_messages_of_concurrent_writers_arrive_in_order_without_a_gap(
    client: Client,
) -> None:
    async def write(execution: str) -> None:
        for index in range(500):
            event = entry(NodeStarting, index, node="n0", attempt=0)
            log = subjects.events(execution)
            await bus.publish(client, subjects.EXECUTION_EVENTS, log, event)

    stream, log = subjects.EXECUTION_EVENTS, subjects.ALL_EVENTS
    async with asyncio.TaskGroup() as writers:
        for execution in ("e1", "e2", "e3", "e4"):
            writers.create_task(write(execution))
        async with aclosing(bus.follow(client, stream, log, every_message=True)) as following:
            received = await take(following, 2001)
    sequences = [message.sequence for message in received if message]
    assert sequences == list(range(1, 2001))
    assert received.count(None) == 1


async def test_a_subject_of_many_megabytes_is_read_to_its_end(client: Client) -> None:
    # So much that the server's flow control waits for the follower's answers.
    big = entry(NodeFailed, 0, node="n0", attempt=0, error="x" * 50_000, final=True)
    log = subjects.events("e1")
    for _ in range(40):
        puts = [bus.publish(client, subjects.EXECUTION_EVENTS, log, big) for _ in range(25)]
        await asyncio.gather(*puts)
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert len(await bus.read_all(client, subjects.EXECUTION_EVENTS, log)) == 1000


async def test_a_message_that_is_dropped_breaks_the_subscription(client: Client) -> None:
    async with aclosing(follow(client)) as following:
        await take(following, 1)
        await put(client, "a")
        subscription = client._subs[max(client._subs)]  # the newest
        await asyncio.wait_for(subscription._pending_queue.get(), PATIENCE_SECONDS)
        await put(client, "b")
        with pytest.raises(bus.BrokenSubscription, match="skipped from 1 to 2"):
            await take(following, 1)


async def test_read_all_returns_every_message_of_a_subject(client: Client) -> None:
    log = subjects.events("e1")
    events = [entry(NodeStarting, index, node="n0", attempt=0) for index in range(5)]
    for event in events:
        await bus.publish(client, subjects.EXECUTION_EVENTS, log, event)
        await bus.publish(client, subjects.EXECUTION_EVENTS, subjects.events("e2"), event)
    stored = await bus.read_all(client, subjects.EXECUTION_EVENTS, log)
    assert [message.body for message in stored] == [event.body() for event in events]
    assert await bus.read_all(client, subjects.EXECUTION_EVENTS, subjects.events("e3")) == []


@pytest.mark.parametrize("end", [NatsServer.stop, NatsServer.kill])
async def test_a_connection_that_is_cut_breaks_the_subscription(
    nats_server: NatsServer, client: Client, end: object
) -> None:
    await put(client, "a")
    async with aclosing(follow(client)) as following:
        await take(following, 2)
        end(nats_server)  # type: ignore[operator]  # one of the server's methods
        nats_server.start()
        with pytest.raises(bus.BrokenSubscription, match="the connection was cut"):
            await take(following, 1)
    async with aclosing(follow(client)) as following:
        assert names(await take(following, 2)) == ["a", None]


async def test_a_wipe_breaks_the_subscription_and_the_new_stream_can_be_followed(
    nats_server: NatsServer, client: Client
) -> None:
    await put(client, "a")
    async with aclosing(follow(client)) as following:
        await take(following, 2)
        nats_server.wipe()
        with pytest.raises(bus.BrokenSubscription):
            await take(following, 1)
    with pytest.raises(Unavailable, match="cannot follow SETTINGS"):
        await take(follow(client), 1)
    await streams.bootstrap(client)
    assert await take(follow(client), 1) == [None]


async def test_deleting_the_stream_breaks_the_subscription(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "HEARTBEAT_SECONDS", 0.8)
    async with aclosing(follow(client)) as following:
        await take(following, 1)
        await client.jetstream().delete_stream(subjects.SETTINGS)
        with pytest.raises(bus.BrokenSubscription):
            await take(following, 1)


async def test_a_quiet_stream_does_not_break_the_subscription(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "HEARTBEAT_SECONDS", 0.8)
    async with aclosing(follow(client)) as following:
        await take(following, 1)
        waiting = asyncio.create_task(take(following, 1))
        # Longer than a follower tolerates silence: the server's heartbeats must reach it.
        await asyncio.sleep(4 * bus.HEARTBEAT_SECONDS)
        await put(client, "a")
        assert names(await waiting) == ["a"]


async def test_a_follower_that_is_closed_deletes_its_consumer(client: Client) -> None:
    # The server deletes a consumer without a subscriber by itself too, but without a request.
    deletions = await client.subscribe(f"$JS.API.CONSUMER.DELETE.{subjects.SETTINGS}.*")
    for _ in range(3):
        async with aclosing(follow(client)) as following:
            await take(following, 1)
    for _ in range(3):
        await deletions.next_msg(timeout=PATIENCE_SECONDS)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await client.jetstream().consumers_info(subjects.SETTINGS):
            await asyncio.sleep(0.02)
