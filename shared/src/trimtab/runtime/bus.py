"""The connection to NATS and what every service does on it, with the guards that NATS needs."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import NamedTuple, Protocol
from uuid import uuid4

import nats.errors
import nats.js.errors
from faststream import BaseMiddleware, StreamMessage
from faststream.exceptions import NackMessage, RejectMessage
from faststream.nats import NatsBroker
from faststream.response import PublishCommand
from faststream.security import SASLPlaintext
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, Header
from pydantic import ValidationError

from trimtab.errors import Conflict, Rejected, Retryable, Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import EVENT_ID, EVENT_TYPE
from trimtab.runtime import metrics, telemetry
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.retrying import raise_if_cancelled

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
"""Of one request to the server."""
_AGAIN_SECONDS = 0.2
_PASSING = (
    nats.js.errors.NotFoundError,
    nats.js.errors.ServiceUnavailableError,
    nats.errors.NoRespondersError,
    nats.errors.ConnectionReconnectingError,
    TimeoutError,
)
"""What subscribing may raise that says nothing of the subscription."""
_CONNECT_SECONDS = 1.0
HEARTBEAT_SECONDS = 2.0
"""How often the server proves that a followed stream is quiet and not cut off."""

DEAD_REASON = "trimtab-reason"
"""Header of a dead letter: why it is one."""
DEAD_SUBJECT = "trimtab-subject"
"""Header of a dead letter: where it was."""

_WORKING_SECONDS = 1.0
"""How often the server hears that a message is worked on; shorter than any sensible ack wait."""
_LOOK_SECONDS = 0.25
"""How soon a follower notices that the connection was made anew."""
_WRONG_LAST_SEQUENCE = 10071


class Message(Protocol):
    """A message that can be published, such as an `Event` or a `LogEvent`."""

    @property
    def event_type(self) -> str: ...

    def body(self) -> bytes: ...


class WrongSequence(Conflict):
    """Somebody else has appended since we looked."""


async def _nothing(_client: Client) -> None:
    return


@asynccontextmanager
async def connected(
    settings: ServiceConfig,
    name: str,
    subscribe: Callable[[NatsBroker], None] = lambda _broker: None,
    prepare: Callable[[Client], Awaitable[object]] = _nothing,
) -> AsyncIterator[Client]:
    """A connection that is never given up, and the broker's subscribers while it lasts.

    ``prepare`` runs before the subscribers start, which need their streams and durables. The
    process ends if the client closes it by itself. Waits for ever for a server that is away.
    """
    stopping = False

    async def on_error(error: Exception) -> None:
        log.warning("nats.error", extra={"error": f"{type(error).__name__}: {error}"})

    async def on_closed() -> None:
        if not stopping:
            # nats-py closes for good only when the server refuses us; nothing can work any more.
            log.error("nats.closed")
            os._exit(1)

    broker = NatsBroker(
        settings.nats_url,
        security=SASLPlaintext(settings.nats_user, settings.nats_password.get_secret_value())
        if settings.nats_user
        else None,
        name=name,
        inbox_prefix=f"_INBOX_{name}",
        # The default gives up after two minutes and then starves the event loop.
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,  # type: ignore[arg-type]  # seconds, and nats-py takes fractions
        ping_interval=5,
        max_outstanding_pings=2,
        error_cb=on_error,
        closed_cb=on_closed,
        # The default cancels handlers that are still at work.
        graceful_timeout=10,
        middlewares=[_Outcome],  # type: ignore[list-item]  # the stub wants None as message too
        logger=None,
    )
    subscribe(broker)
    client: Client | None = None
    try:
        client = await _connection(broker)
        await _start(broker, client, prepare)
        raise_if_cancelled()
        yield client
    finally:
        stopping = True
        try:
            await asyncio.wait_for(broker.stop(), 2 * TIMEOUT_SECONDS)
        except* (nats.errors.Error, TimeoutError):
            # Stopping fails while the server is away; there is nothing to be saved then.
            log.info("nats.left")
            # A client that was not drained would look for its server for ever; what it has not said
            # yet is lost with its connection.
            if client is not None:
                with suppress(OSError):
                    await client.close()


async def _start(
    broker: NatsBroker, client: Client, prepare: Callable[[Client], Awaitable[object]]
) -> None:
    """Again where a stream went, or the server, between the two."""
    while True:
        raise_if_cancelled()
        await prepare(client)
        try:
            await broker.start()
        except _PASSING as error:
            log.warning("nats.not_subscribed", extra={"error": f"{type(error).__name__}: {error}"})
            for subscriber in broker.subscribers:
                await subscriber.stop()
            await asyncio.sleep(_AGAIN_SECONDS)
        else:
            return


async def _connection(broker: NatsBroker) -> Client:
    """Who is cancelled meanwhile waits a moment for it, because nobody else could close it."""
    connecting = asyncio.create_task(broker.connect())
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        await asyncio.wait([connecting], timeout=_CONNECT_SECONDS)
        connecting.cancel()
        raise


class _Outcome(BaseMiddleware[PublishCommand, Msg]):
    """Maps what a handler raised to what becomes of the message, and keeps long work alive."""

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Msg]], Awaitable[object]], msg: StreamMessage[Msg]
    ) -> object:
        fields: dict[str, object] = {
            "subject": msg.raw_message.subject,
            "event_id": msg.headers.get(EVENT_ID, ""),
            "attempt": msg.raw_message.metadata.num_delivered,
        }
        started = time.perf_counter()
        try:
            with (
                telemetry.consuming(msg.raw_message.subject, msg.headers),
                metrics.processing(msg.raw_message.subject),
            ):
                async with _kept_alive(msg.raw_message):
                    result = await call_next(msg)
        except Exception as error:
            raise await self._verdict(error, msg.raw_message, fields) from error
        log.info(
            "event.done", extra={**fields, "ms": round(1000 * (time.perf_counter() - started))}
        )
        return result

    async def _verdict(
        self, error: Exception, message: Msg, fields: dict[str, object]
    ) -> RejectMessage | NackMessage:
        pause = _pause(message.metadata.num_delivered)
        match error:
            case Rejected() | ValidationError():
                log.error("event.dead", extra={**fields, "error": str(error)})
                try:
                    await self._bury(message, str(error))
                except (nats.errors.Error, TimeoutError) as unburied:
                    log.warning("event.unburied", extra={**fields, "error": str(unburied)})
                    return NackMessage(delay=pause)
                return RejectMessage()
            case Retryable():
                pause = error.delay_seconds or pause
                log.warning("event.retried", extra={**fields, "error": str(error), "delay": pause})
            case _:
                # A mistake of ours. Nothing else logs it, and a nack without a delay would spin.
                log.error("event.failed", extra=fields, exc_info=error)
        return NackMessage(delay=pause)

    async def _bury(self, message: Msg, reason: str) -> None:
        """Copy it to the dead letters, before it is ended: twice is better than nowhere."""
        # Its own id and expectations are NATS's; they would keep the copy from being stored.
        headers = {k: v for k, v in (message.headers or {}).items() if not k.startswith("Nats-")}
        headers[DEAD_REASON] = " ".join(reason.split())[:1000]
        headers[DEAD_SUBJECT] = message.subject
        subject = subjects.dead(message.metadata.stream, message.metadata.consumer)
        jetstream = message._client.jetstream(timeout=TIMEOUT_SECONDS)
        await jetstream.publish(subject, message.data, headers=headers)


def _pause(deliveries: int | None) -> float:
    """Seconds until a message is tried again: twice as long each time, up to half a minute."""
    return float(min(2 ** min(deliveries or 1, 10) / 2, 30))


@asynccontextmanager
async def _kept_alive(message: Msg) -> AsyncIterator[None]:
    """Tell the server that the message is worked on, before it gives it to somebody else."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(_WORKING_SECONDS)
            with suppress(nats.errors.Error):
                await message.in_progress()

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()


async def publish(
    client: Client,
    stream: str,
    subject: str,
    event: Message,
    *,
    event_id: str = "",
    headers: Mapping[str, str] | None = None,
    last_sequence: int | None = None,
    last_subject_sequence: int | None = None,
) -> int:
    """Append to a stream and return the sequence it got.

    Raises `WrongSequence` where the stream, or the subject, does not end where we thought, and
    `Unavailable` where the server did not confirm: then the message may be stored or not.
    """
    event_id = event_id or str(uuid4())
    all_headers = {
        Header.MSG_ID.value: event_id,
        EVENT_ID: event_id,
        EVENT_TYPE: event.event_type,
        "ce-specversion": "1.0",
        "ce-source": "trimtab",
        **telemetry.headers(),
        **(headers or {}),
    }
    if last_sequence is not None:
        all_headers[Header.EXPECTED_LAST_SEQUENCE.value] = str(last_sequence)
    if last_subject_sequence is not None:
        all_headers[Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value] = str(last_subject_sequence)
    try:
        with metrics.publishing(subject):
            ack = await client.jetstream(timeout=TIMEOUT_SECONDS).publish(
                subject, event.body(), stream=stream, headers=all_headers
            )
    except nats.js.errors.APIError as error:
        if error.err_code == _WRONG_LAST_SEQUENCE:
            raise WrongSequence(f"{subject} has been appended to") from error
        raise Unavailable(f"NATS did not store {subject}: {error}") from error
    except (nats.errors.Error, TimeoutError) as error:
        raise Unavailable(f"NATS did not answer for {subject}: {error}") from error
    raise_if_cancelled()
    return ack.seq


class Delivered(NamedTuple):
    """A message of a followed stream."""

    subject: str
    sequence: int
    headers: Mapping[str, str]
    body: bytes
    caught_up: bool
    """Whether the stream held nothing newer when this was sent."""
    at: float = 0.0
    """When the stream stored it, in seconds of Unix time."""


class Lost(Retryable):
    """The subscription can no longer be trusted: start over."""


async def follow(
    client: Client, stream: str, subject: str, *, every_message: bool = False
) -> AsyncGenerator[Delivered | None, None]:
    """The last message of each subject, then everything new, in order and without gaps.

    ``None`` comes once, when the stream holds nothing more. ``every_message`` starts with all that
    is stored instead of the last of each subject. Raises `Lost` on a gap, a missed heartbeat or a
    reconnect, and `Unavailable` where the stream does not answer; the caller starts over.
    """
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    connection = client.stats["reconnects"]
    jetstream = client.jetstream(timeout=TIMEOUT_SECONDS)
    policy = DeliverPolicy.ALL if every_message else DeliverPolicy.LAST_PER_SUBJECT
    consumer = ConsumerConfig(
        name=f"follow-{uuid4().hex}",
        deliver_subject=inbox,
        deliver_policy=policy,
        filter_subject=subject,
        ack_policy=AckPolicy.NONE,
        idle_heartbeat=HEARTBEAT_SECONDS,
        flow_control=True,
        mem_storage=True,
        num_replicas=1,
        max_deliver=1,
    )
    name = str(consumer.name)
    try:
        try:
            info = await jetstream.add_consumer(stream, consumer)
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"cannot follow {stream}: {error}") from error
        if info.num_pending == 0 and info.delivered is not None and not info.delivered.consumer_seq:
            yield None
            caught_up = True
        else:
            caught_up = False
        expected = 1
        while True:
            message = await _next(client, subscription, connection, stream)
            if not message.data and (message.headers or {}).get(Header.STATUS.value) == "100":
                await _answer_control(message, expected, stream)
                continue
            meta = message.metadata
            if meta.sequence.consumer != expected:
                raise Lost(f"{stream} skipped from {expected} to {meta.sequence.consumer}")
            expected += 1
            yield Delivered(
                message.subject,
                meta.sequence.stream,
                message.headers or {},
                message.data,
                meta.num_pending == 0,
                meta.timestamp.timestamp(),
            )
            if not caught_up and meta.num_pending == 0:
                caught_up = True
                yield None
    finally:
        with suppress(nats.errors.Error, TimeoutError):
            await subscription.unsubscribe()
            # Without an answer to wait for: the server may be away, and it forgets the consumer.
            await client.publish(f"$JS.API.CONSUMER.DELETE.{stream}.{name}", b"")


async def stored(client: Client, stream: str, subject: str) -> list[Delivered]:
    """Every message that the stream holds on a subject now. Raises `Lost` and `Unavailable`."""
    messages: list[Delivered] = []
    async with aclosing(follow(client, stream, subject, every_message=True)) as following:
        async for message in following:
            if message is None:
                break
            messages.append(message)
    return messages


async def _next(client: Client, subscription: Subscription, connection: int, stream: str) -> Msg:
    """The next message of any sort, on the connection that the subscription was made on."""
    silent = 0.0
    while silent < 3 * HEARTBEAT_SECONDS:
        raise_if_cancelled()
        try:
            message = await subscription.next_msg(timeout=_LOOK_SECONDS)
        except TimeoutError:
            silent += _LOOK_SECONDS
        except nats.errors.Error as error:
            raise Lost(f"the subscription to {stream} ended") from error
        else:
            raise_if_cancelled()
            if client.stats["reconnects"] == connection:
                return message
        if client.stats["reconnects"] != connection:
            raise Lost(f"the connection was cut while following {stream}")
    raise Lost(f"{stream} is silent")


async def _answer_control(message: Msg, expected: int, stream: str) -> None:
    headers = message.headers or {}
    if message.reply:  # flow control: the server waits until we say that we got so far
        await message.respond(b"")
    last = headers.get(Header.LAST_CONSUMER.value)
    if last is not None and int(last) != expected - 1:
        raise Lost(f"{stream} is at {last}, we are at {expected - 1}")
