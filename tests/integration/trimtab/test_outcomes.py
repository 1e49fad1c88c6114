"""The outcome of a delivery, which depends on what its handler raises."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from time import monotonic

import pytest
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from nats.aio.client import Client

from tests import strays
from tests.servers import PATIENCE_SECONDS, NatsServer
from tests.strays import Stray
from trimtab.errors import Invalid, Retryable
from trimtab.messages import subjects
from trimtab.messages.executions import ExecutionRequested
from trimtab.runtime import bus, deliveries
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.connection import connect
from trimtab.testing import request
from trimtab_admin.messaging import streams

Handler = Callable[[ExecutionRequested], Awaitable[None]]

SUBJECT = subjects.requested("development", "flyteexamples")
DEAD = subjects.dead(subjects.EXECUTIONS, subjects.PROPELLER)


@asynccontextmanager
async def handling(
    server: NatsServer,
    handler: Handler,
    prepare: Callable[[Client], Awaitable[object]] = streams.bootstrap,
) -> AsyncIterator[None]:
    """Subscribe as propeller does."""

    def subscribe(broker: NatsBroker) -> None:
        broker.subscriber(
            subjects.ALL_REQUESTED,
            stream=JStream(subjects.EXECUTIONS, declare=False),
            durable=subjects.PROPELLER,
            pull_sub=PullSub(batch_size=4),
            ack_policy=AckPolicy.NACK_ON_ERROR,
            max_workers=4,
            no_reply=True,
        )(handler)

    settings = ServiceConfig(nats_url=server.url)
    async with connect(settings, "propeller", subscribe, prepare):
        yield


async def publish_request(client: Client, execution: str = "e1") -> None:
    event = ExecutionRequested(request=request(execution))
    await bus.publish(client, subjects.EXECUTIONS, SUBJECT, event)


async def waiting(client: Client) -> int:
    """Return the number of unacknowledged messages of the work queue."""
    return (await client.jetstream().stream_info(subjects.EXECUTIONS)).state.messages


async def until_done(client: Client) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await waiting(client):
            await asyncio.sleep(0.02)


class Recorder:
    """A handler that raises the given errors in turn, and records its calls."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self._outcomes = list(outcomes)
        self.calls: list[tuple[str, float]] = []

    async def __call__(self, event: ExecutionRequested) -> None:
        self.calls.append((event.request.execution, monotonic()))
        outcome = self._outcomes.pop(0) if self._outcomes else None
        if outcome is not None:
            raise outcome

    @property
    def gaps(self) -> list[float]:
        times = [at for _, at in self.calls]
        return [later - earlier for earlier, later in pairwise(times)]


async def test_a_message_that_a_handler_finished_is_acknowledged(
    nats_server: NatsServer, client: Client
) -> None:
    handler = Recorder()
    async with handling(nats_server, handler):
        await publish_request(client)
        await until_done(client)
    assert [execution for execution, _ in handler.calls] == ["e1"]
    assert await bus.read_all(client, subjects.DEAD_LETTERS, DEAD) == []


async def test_a_stream_that_is_deleted_before_the_subscription_is_created_again(
    nats_server: NatsServer, client: Client
) -> None:
    made = 0

    async def prepare(client: Client) -> None:
        nonlocal made
        await streams.bootstrap(client)
        made += 1
        if made == 1:
            await client.jetstream().delete_stream(subjects.EXECUTIONS)

    handled = Recorder()
    async with handling(nats_server, handled, prepare):
        await publish_request(client)
        await until_done(client)
    assert made == 2
    assert len(handled.calls) == 1


async def test_a_message_that_a_handler_rejects_becomes_a_dead_letter_with_the_reason(
    nats_server: NatsServer, client: Client
) -> None:
    handler = Recorder(Invalid("inputs.start", "x", "a number"))
    async with handling(nats_server, handler):
        await publish_request(client)
        await until_done(client)
    assert len(handler.calls) == 1
    [letter] = await bus.read_all(client, subjects.DEAD_LETTERS, DEAD)
    assert letter.body == ExecutionRequested(request=request()).body()
    assert letter.headers["trimtab-reason"].startswith("inputs.start: 'x' is not valid")
    assert letter.headers["trimtab-subject"] == SUBJECT


async def test_a_rejected_message_is_kept_while_the_stream_of_dead_letters_is_missing(
    nats_server: NatsServer, client: Client
) -> None:
    await client.jetstream().delete_stream(subjects.DEAD_LETTERS)
    wrong = Invalid("inputs.start", "x", "a number")
    handler = Recorder(wrong, wrong)
    async with handling(nats_server, handler):
        await publish_request(client)
        while not handler.calls:
            await asyncio.sleep(0.02)
        await streams.bootstrap(client)
        await until_done(client)
    assert len(await bus.read_all(client, subjects.DEAD_LETTERS, DEAD)) == 1


BODIES = [
    b"{}",
    b"not json",
    b"0",
    b"",
    b"\xff",
    b"[" * 100_000,
    b"9" * 10_000,
    b'"\\ud800"',
    b"NaN",
]


@pytest.mark.parametrize("body", BODIES, ids=[str(body[:8]) for body in BODIES])
async def test_a_body_that_is_no_event_becomes_a_dead_letter_and_never_reaches_the_handler(
    nats_server: NatsServer, client: Client, body: bytes
) -> None:
    handler = Recorder()
    async with handling(nats_server, handler):
        await client.jetstream().publish(SUBJECT, body)
        await until_done(client)
    [letter] = await bus.read_all(client, subjects.DEAD_LETTERS, DEAD)
    assert letter.body == body
    assert handler.calls == []


ODD_HEADERS = [
    b"\r\nnats-msg-id: 1",
    b"\r\nStatus: 404",
    b"\r\ntrace: \xff",
    b"\r\n\xff: 1",
    b"\r\na(b): 1",
    b"\r\nlong: " + b"x" * 60_000,
    b" 404 No Messages",
    b" \xff\xff\xff",
]
"""The part after ``NATS/1.0`` in the headers of a message."""


@pytest.mark.parametrize("headers", ODD_HEADERS, ids=[str(each[:20]) for each in ODD_HEADERS])
async def test_a_foreign_message_becomes_one_dead_letter_whatever_its_headers(
    nats_server: NatsServer, client: Client, headers: bytes
) -> None:
    handler = Recorder()
    async with handling(nats_server, handler):
        await strays.publish(nats_server, [Stray(SUBJECT.encode(), headers, b"[]")])
        await publish_request(client)
        await until_done(client)
    assert len(handler.calls) == 1
    [letter] = await bus.read_all(client, subjects.DEAD_LETTERS, DEAD)
    assert (letter.body, letter.headers["trimtab-subject"]) == (b"[]", SUBJECT)


async def test_a_rejected_message_of_the_largest_size_becomes_a_dead_letter(
    nats_server: NatsServer, client: Client
) -> None:
    body = b"x" * client.max_payload
    handler = Recorder()
    async with handling(nats_server, handler):
        await client.jetstream().publish(SUBJECT, body)
        await until_done(client)
    [letter] = await bus.read_all(client, subjects.DEAD_LETTERS, DEAD)
    assert letter.headers["trimtab-subject"] == SUBJECT
    assert body.startswith(letter.body)
    assert len(letter.body) > len(body) - 10_000


async def test_a_retryable_error_redelivers_after_the_delay_that_it_names(
    nats_server: NatsServer, client: Client
) -> None:
    handler = Recorder(
        Retryable("not yet", delay_seconds=0.4), Retryable("not yet", delay_seconds=0.4)
    )
    async with handling(nats_server, handler):
        await publish_request(client)
        await until_done(client)
    assert len(handler.calls) == 3
    assert min(handler.gaps) >= 0.4


async def test_without_a_named_delay_the_delays_grow(
    nats_server: NatsServer, client: Client
) -> None:
    handler = Recorder(Retryable("not yet"), Retryable("not yet"))
    async with handling(nats_server, handler):
        await publish_request(client)
        await until_done(client)
    first, second = handler.gaps
    assert first >= 1.0
    assert second >= 2.0


async def test_an_unexpected_error_is_logged_and_redelivers_after_a_delay(
    nats_server: NatsServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Recorder(ZeroDivisionError("division by zero"))
    async with handling(nats_server, handler):
        await publish_request(client)
        await until_done(client)
    assert len(handler.calls) == 2
    assert handler.gaps[0] >= 1.0
    [logged] = [entry for entry in caplog.records if entry.message == "event.failed"]
    assert logged.levelno == logging.ERROR
    assert logged.exc_info is not None


async def test_a_message_that_waits_does_not_delay_others(
    nats_server: NatsServer, client: Client
) -> None:
    handler = Recorder(Retryable("not yet", delay_seconds=2))
    async with handling(nats_server, handler):
        for execution in ("e1", "e2", "e3"):
            await publish_request(client, execution)
        await until_done(client)
    assert [execution for execution, _ in handler.calls] == ["e1", "e2", "e3", "e1"]


async def test_a_message_whose_handler_takes_longer_than_the_ack_wait_is_delivered_once(
    nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    jetstream = client.jetstream()
    durable = await jetstream.consumer_info(subjects.EXECUTIONS, subjects.PROPELLER)
    await jetstream.add_consumer(subjects.EXECUTIONS, durable.config.evolve(ack_wait=2.0))
    monkeypatch.setattr(deliveries, "_PROGRESS_SECONDS", 0.1)
    reports = await client.subscribe(f"$JS.ACK.{subjects.EXECUTIONS}.{subjects.PROPELLER}.>")
    started: list[str] = []

    async def slow(event: ExecutionRequested) -> None:
        started.append(event.request.execution)
        began = monotonic()
        while monotonic() - began <= 3.0:
            progress = await reports.next_msg(timeout=PATIENCE_SECONDS)
            assert progress.data == b"+WPI"

    async with handling(nats_server, slow):
        await publish_request(client)
        await until_done(client)
    assert started == ["e1"]


async def test_a_message_that_a_killed_process_was_handling_is_redelivered(
    nats_server: NatsServer, client: Client
) -> None:
    jetstream = client.jetstream()
    durable = await jetstream.consumer_info(subjects.EXECUTIONS, subjects.PROPELLER)
    await jetstream.add_consumer(subjects.EXECUTIONS, durable.config.evolve(ack_wait=2.0))
    await publish_request(client)
    queue = await jetstream.pull_subscribe_bind(subjects.PROPELLER, subjects.EXECUTIONS)
    assert len(await queue.fetch(1)) == 1  # delivered, and never acknowledged
    handler = Recorder()
    async with handling(nats_server, handler):
        await until_done(client)
    assert [execution for execution, _ in handler.calls] == ["e1"]
