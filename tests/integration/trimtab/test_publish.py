"""Appending to a stream: the sequence, compare-and-set, and a server that does not confirm."""

import asyncio
from contextlib import aclosing

import pytest
from nats.aio.client import Client
from nats.js.api import Header

from tests.servers import PATIENCE_SECONDS, NatsServer
from trimtab.errors import Conflict, Retryable, Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import EVENT_ID, EVENT_TYPE
from trimtab.messages.executions import NodeStarting, Owned
from trimtab.runtime import bus, telemetry
from trimtab.testing import entry

EVENTS = subjects.EXECUTION_EVENTS
LOG = subjects.events("e1")
FIRST = entry(Owned, 0)
SECOND = entry(NodeStarting, 1, node="n0", attempt=0)


async def test_every_append_gets_the_next_sequence(client: Client) -> None:
    assert await bus.publish(client, EVENTS, LOG, FIRST) == 1
    assert await bus.publish(client, EVENTS, LOG, SECOND, last_subject_sequence=1) == 2
    bodies = [message.body for message in await bus.read_all(client, EVENTS, LOG)]
    assert bodies == [FIRST.body(), SECOND.body()]


async def test_a_message_is_a_cloud_event_with_the_trace_it_was_published_in(
    client: Client,
) -> None:
    trace = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
    with telemetry.span("publish", trace):
        await bus.publish(client, EVENTS, LOG, SECOND, event_id="id-1", headers={"more": "1"})
    [message] = await bus.read_all(client, EVENTS, LOG)
    assert message.headers[EVENT_ID] == message.headers[Header.MSG_ID.value] == "id-1"
    assert message.headers[EVENT_TYPE] == "trimtab.execution.node_starting.v1"
    assert message.headers["more"] == "1"
    assert "1" * 32 in message.headers["traceparent"]


async def test_the_same_event_again_is_not_stored_again(client: Client) -> None:
    for _ in range(3):
        assert await bus.publish(client, EVENTS, LOG, FIRST, event_id="id-1") == 1
    assert len(await bus.read_all(client, EVENTS, LOG)) == 1


async def test_an_append_after_an_unexpected_sequence_is_rejected(client: Client) -> None:
    await bus.publish(client, EVENTS, LOG, FIRST, last_subject_sequence=0)
    with pytest.raises(bus.WrongSequence):
        await bus.publish(client, EVENTS, LOG, SECOND, last_subject_sequence=0)
    with pytest.raises(Conflict):
        await bus.publish(client, EVENTS, LOG, SECOND, last_sequence=0)
    assert len(await bus.read_all(client, EVENTS, LOG)) == 1


async def test_another_subject_does_not_disturb_a_log(client: Client) -> None:
    await bus.publish(client, EVENTS, LOG, FIRST)
    other = subjects.events("e2")
    assert await bus.publish(client, EVENTS, other, FIRST, last_subject_sequence=0) == 2


async def test_one_of_many_concurrent_appends_succeeds(client: Client) -> None:
    attempts = [bus.publish(client, EVENTS, LOG, FIRST, last_subject_sequence=0) for _ in range(20)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["WrongSequence"] * 19 + ["int"]


async def test_a_stream_that_is_missing_is_unavailable(client: Client) -> None:
    await client.jetstream().delete_stream(EVENTS)
    with pytest.raises(Unavailable, match=r"trimtab\.executions\.events\.e1"):
        await bus.publish(client, EVENTS, LOG, FIRST)


async def test_a_subject_of_another_stream_is_not_stored_there(client: Client) -> None:
    with pytest.raises(Unavailable):
        await bus.publish(client, subjects.SETTINGS, LOG, FIRST)
    assert await bus.read_all(client, EVENTS, LOG) == []


async def test_a_server_that_is_away_is_unavailable_and_works_again_when_it_is_back(
    nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    nats_server.stop()
    monkeypatch.setattr(bus, "TIMEOUT_SECONDS", 0.5)
    with pytest.raises(Unavailable) as away:
        await bus.publish(client, EVENTS, LOG, FIRST, event_id="id-1")
    assert isinstance(away.value, Retryable)
    nats_server.start()
    monkeypatch.undo()
    # The unconfirmed message may be stored when the connection is back, so the id decides.
    await bus.publish(client, EVENTS, LOG, FIRST, event_id="id-1")
    assert len(await bus.read_all(client, EVENTS, LOG)) == 1


async def test_a_task_that_publishes_in_a_loop_can_be_cancelled(client: Client) -> None:
    async def write() -> None:
        while True:
            await bus.publish(client, EVENTS, LOG, FIRST)

    # The follower receives a message together with the writer's confirmation, the hard moment.
    async with aclosing(bus.follow(client, EVENTS, LOG)) as following:
        for _ in range(20):
            writing = asyncio.create_task(write())
            async with asyncio.timeout(PATIENCE_SECONDS):
                for _ in range(5):
                    await anext(following)
            writing.cancel()
            await asyncio.wait([writing], timeout=PATIENCE_SECONDS)
            assert writing.cancelled()
