"""Streams of NATS: append to them, follow them, read what they hold on a subject."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import NamedTuple, Protocol
from uuid import uuid4

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy, Header

from trimtab.errors import Conflict, Retryable, Unavailable
from trimtab.messages.events import EVENT_ID, EVENT_TYPE, SOURCE, SPEC_VERSION
from trimtab.runtime import metrics, telemetry
from trimtab.runtime.retrying import raise_if_cancelled

TIMEOUT_SECONDS = 5.0
"""The longest wait for the server's response to one request."""
HEARTBEAT_SECONDS = 2.0
"""The interval in which the server shows that a followed stream is quiet and not cut off."""

_POLL_SECONDS = 0.25
"""The longest delay until a follower notices that the client has reconnected."""
WRONG_LAST = frozenset({10070, 10071})
"""The server's codes for a stream, or a subject, that ends with another id or sequence."""


class Message(Protocol):
    """A message that can be published, such as an `Event` or a `LogEvent`."""

    @property
    def event_type(self) -> str: ...

    def body(self) -> bytes: ...


class StoredMessage(NamedTuple):
    """A message as a stream holds it."""

    subject: str
    sequence: int
    headers: Mapping[str, str]
    body: bytes
    is_last: bool
    """Whether the stream held nothing newer when the server sent this message."""
    stored_at: float = 0.0
    """When the stream stored it, in seconds of Unix time."""


class WrongSequence(Conflict):
    """The stream, or the subject, does not end with what the writer expected."""


class BrokenSubscription(Retryable):
    """Messages may be missing from a subscription: read the stream from its start again."""


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
    last_event_id: str = "",
) -> int:
    """Append a message to a stream and return its sequence.

    ``last_sequence``, ``last_event_id`` and ``last_subject_sequence`` are what the stream and the
    subject must end with. Raises `WrongSequence` where they do not, and `Unavailable` where the
    server did not confirm: then the message may be stored or not.
    """
    all_headers = {**_event_headers(event, event_id or str(uuid4())), **(headers or {})}
    if last_sequence is not None:
        all_headers[Header.EXPECTED_LAST_SEQUENCE.value] = str(last_sequence)
    if last_subject_sequence is not None:
        all_headers[Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value] = str(last_subject_sequence)
    if last_event_id:
        all_headers[Header.EXPECTED_LAST_MSG_ID.value] = last_event_id
    try:
        with metrics.publishing(subject):
            ack = await client.jetstream(timeout=TIMEOUT_SECONDS).publish(
                subject, event.body(), stream=stream, headers=all_headers
            )
    except nats.js.errors.APIError as error:
        if error.err_code in WRONG_LAST:
            raise WrongSequence(f"{subject} has been appended to") from error
        raise Unavailable(f"NATS did not store {subject}: {error}") from error
    except (nats.errors.Error, TimeoutError) as error:
        raise Unavailable(f"NATS did not answer for {subject}: {error}") from error
    raise_if_cancelled()
    return ack.seq


def _event_headers(event: Message, event_id: str) -> dict[str, str]:
    return {
        Header.MSG_ID.value: event_id,
        EVENT_ID: event_id,
        EVENT_TYPE: event.event_type,
        "ce-specversion": SPEC_VERSION,
        "ce-source": SOURCE,
        **telemetry.headers(),
    }


async def follow(
    client: Client, stream: str, subject: str, *, every_message: bool = False
) -> AsyncGenerator[StoredMessage | None, None]:
    """Yield the last message of each subject, then every new one, in order and without gaps.

    ``None`` is yielded once, when the stream holds nothing more. ``every_message`` begins with all
    messages that are stored instead of the last of each subject. Raises `BrokenSubscription` on a
    gap, a missed heartbeat or a reconnect, and `Unavailable` where the stream does not answer; the
    caller begins again.
    """
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    connection = client.stats["reconnects"]
    consumer = _consumer(inbox, subject, every_message)
    try:
        caught_up = _is_empty(await _create(client, stream, consumer))
        if caught_up:
            yield None
        expected = 1
        while True:
            message = await _next(client, subscription, connection, stream)
            if message.subject == inbox:
                await _answer_control(message, expected, stream)
                continue
            sequence = message.metadata.sequence.consumer
            if sequence != expected:
                raise BrokenSubscription(f"{stream} skipped from {expected} to {sequence}")
            expected += 1
            stored = _stored(message)
            yield stored
            if not caught_up and stored.is_last:
                caught_up = True
                yield None
    finally:
        with suppress(nats.errors.Error, TimeoutError):
            await subscription.unsubscribe()
            # The response is not awaited: the server may be away, and drops the consumer by itself.
            await client.publish(f"$JS.API.CONSUMER.DELETE.{stream}.{consumer.name}", b"")


async def read_all(client: Client, stream: str, subject: str) -> list[StoredMessage]:
    """Return every message that the stream now holds on a subject, oldest first.

    Raises `BrokenSubscription` and `Unavailable`.
    """
    messages: list[StoredMessage] = []
    async with aclosing(follow(client, stream, subject, every_message=True)) as following:
        async for message in following:
            if message is None:
                break
            messages.append(message)
    return messages


def _stored(message: Msg) -> StoredMessage:
    meta = message.metadata
    return StoredMessage(
        message.subject,
        meta.sequence.stream,
        message.headers or {},
        message.data,
        meta.num_pending == 0,
        meta.timestamp.timestamp(),
    )


def _consumer(inbox: str, subject: str, every_message: bool) -> ConsumerConfig:
    return ConsumerConfig(
        name=f"follow-{uuid4().hex}",
        deliver_subject=inbox,
        deliver_policy=DeliverPolicy.ALL if every_message else DeliverPolicy.LAST_PER_SUBJECT,
        filter_subject=subject,
        ack_policy=AckPolicy.NONE,
        idle_heartbeat=HEARTBEAT_SECONDS,
        flow_control=True,
        mem_storage=True,
        num_replicas=1,
        max_deliver=1,
    )


async def _create(client: Client, stream: str, consumer: ConsumerConfig) -> ConsumerInfo:
    try:
        return await client.jetstream(timeout=TIMEOUT_SECONDS).add_consumer(stream, consumer)
    except (nats.errors.Error, TimeoutError) as error:
        raise Unavailable(f"cannot follow {stream}: {error}") from error


def _is_empty(info: ConsumerInfo) -> bool:
    """Whether the stream held nothing for a consumer when the server created it."""
    has_delivered = info.delivered is None or info.delivered.consumer_seq
    return info.num_pending == 0 and not has_delivered


async def _next(client: Client, subscription: Subscription, connection: int, stream: str) -> Msg:
    """Return the next message, which may be a control message, of the original connection."""
    silent = 0.0
    while silent < 3 * HEARTBEAT_SECONDS:
        raise_if_cancelled()
        try:
            message = await subscription.next_msg(timeout=_POLL_SECONDS)
        except TimeoutError:
            silent += _POLL_SECONDS
        except nats.errors.Error as error:
            raise BrokenSubscription(f"the subscription to {stream} ended") from error
        else:
            raise_if_cancelled()
            if client.stats["reconnects"] == connection:
                return message
        if client.stats["reconnects"] != connection:
            raise BrokenSubscription(f"the connection was cut while following {stream}")
    raise BrokenSubscription(f"{stream} is silent")


async def _answer_control(message: Msg, expected: int, stream: str) -> None:
    """Answer a request for flow control, and check the sequence that a heartbeat states."""
    headers = message.headers or {}
    if message.reply:  # The server pauses until it receives the answer.
        await message.respond(b"")
    last = headers.get(Header.LAST_CONSUMER.value)
    if last is not None and int(last) != expected - 1:
        raise BrokenSubscription(f"{stream} is at {last}, the follower at {expected - 1}")
