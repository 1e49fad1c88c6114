"""The connection of a service to NATS, and the subscribers that run on it."""

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import nats.errors
import nats.js.errors
from faststream.nats import NatsBroker
from faststream.security import SASLPlaintext
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import Header
from nats.protocol import parser

from trimtab.runtime.bus import TIMEOUT_SECONDS
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.deliveries import DeliveryOutcome, decode_json
from trimtab.runtime.retrying import backoff_seconds, raise_if_cancelled

log = logging.getLogger(__name__)

_TRANSIENT_ERRORS = (
    nats.js.errors.NotFoundError,
    nats.js.errors.ServiceUnavailableError,
    nats.errors.NoRespondersError,
    nats.errors.ConnectionReconnectingError,
    TimeoutError,
)
"""Errors of subscribing that a second try may not have."""
_CANCEL_SECONDS = 1.0


async def _no_preparation(_client: Client) -> None:
    return


@asynccontextmanager
async def connect(
    config: ServiceConfig,
    name: str,
    subscribe: Callable[[NatsBroker], None] = lambda _broker: None,
    prepare: Callable[[Client], Awaitable[object]] = _no_preparation,
) -> AsyncIterator[Client]:
    """Connect to NATS and run the broker's subscribers until the block ends.

    Waits indefinitely for a server that is away, and reconnects without limit. ``prepare`` runs
    before the subscribers start, because they need their streams and durable consumers. Where the
    client closes the connection by itself, the process ends.
    """
    is_stopping = False

    async def on_error(error: Exception) -> None:
        log.warning("nats.error", extra={"error": f"{type(error).__name__}: {error}"})

    async def on_closed() -> None:
        if not is_stopping:
            # nats-py closes for good only when the server refuses the client; nothing works then.
            log.error("nats.closed")
            os._exit(1)

    broker = _broker(config, name, on_error, on_closed)
    subscribe(broker)
    client: Client | None = None
    try:
        client = await _connect(broker)
        _accept_every_message(client)
        await _start(broker, client, prepare)
        raise_if_cancelled()
        yield client
    finally:
        is_stopping = True
        await _stop(broker, client)


def _broker(
    config: ServiceConfig,
    name: str,
    on_error: Callable[[Exception], Awaitable[None]],
    on_closed: Callable[[], Awaitable[None]],
) -> NatsBroker:
    password = config.nats_password.get_secret_value()
    return NatsBroker(
        config.nats_url,
        security=SASLPlaintext(config.nats_user, password) if config.nats_user else None,
        name=name,
        inbox_prefix=f"_INBOX_{name}",
        # The default gives up after two minutes and then starves the event loop.
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,  # type: ignore[arg-type]  # seconds, and nats-py takes fractions
        ping_interval=5,
        max_outstanding_pings=2,
        error_cb=on_error,
        closed_cb=on_closed,
        # The default cancels handlers that are running.
        graceful_timeout=10,
        decoder=decode_json,
        middlewares=[DeliveryOutcome],  # type: ignore[list-item]  # the stub wants None as message too
        logger=None,
    )


async def _connect(broker: NatsBroker) -> Client:
    """Connect. A cancellation waits a moment for the connection, which `_stop` then closes."""
    connecting = asyncio.create_task(broker.connect())
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        await asyncio.wait([connecting], timeout=_CANCEL_SECONDS)
        connecting.cancel()
        raise


def _accept_every_message(client: Client) -> None:
    """Deliver a message whatever its headers and its subject contain.

    By default the client stops reading at a message that it cannot decode, without an error, and
    finds it again after each reconnect, because it lies in a stream. It also takes a message with a
    status in its headers for one of the server itself, and never acknowledges it.
    """
    process_headers, build_message = client._process_headers, client._build_message

    async def process(headers: bytes) -> dict[str, str] | None:
        try:
            return await process_headers(headers)
        except (IndexError, ValueError):
            return None

    def build(
        sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        if headers and reply.startswith(b"$JS.ACK."):  # of a stream, not of the server itself
            headers.pop(Header.STATUS.value, None)
        readable = bytes(subject).decode(errors="replace").encode()
        message: Msg = build_message(sid, readable, reply, data, headers)
        return message

    client._process_headers = process  # type: ignore[method-assign]
    client._build_message = build  # type: ignore[method-assign]
    # The server allows a vertical tab and a form feed in a subject, and the client does not.
    for name in ("MSG_RE", "HMSG_RE"):
        pattern = getattr(parser, name).pattern
        setattr(parser, name, re.compile(pattern.replace(rb"[^\s]", rb"[^ \t\r\n]")))


async def _start(
    broker: NatsBroker, client: Client, prepare: Callable[[Client], Awaitable[object]]
) -> None:
    """Prepare and start the subscribers; both again where a stream disappears in between."""
    failures = 0
    while True:
        raise_if_cancelled()
        await prepare(client)
        try:
            await broker.start()
        except _TRANSIENT_ERRORS as error:
            log.warning("nats.not_subscribed", extra={"error": f"{type(error).__name__}: {error}"})
            for subscriber in broker.subscribers:
                await subscriber.stop()
            failures += 1
            await asyncio.sleep(backoff_seconds(failures, first=0.2, longest=2.0))
        else:
            return


async def _stop(broker: NatsBroker, client: Client | None) -> None:
    """Drain the connection, or close it where the server is away."""
    try:
        await asyncio.wait_for(broker.stop(), 2 * TIMEOUT_SECONDS)
    except* (nats.errors.Error, TimeoutError):
        log.info("nats.not_drained")
        # A client that was not drained would look for its server indefinitely. Closing it drops
        # the messages that it has not sent yet. It cancels its reconnecting once, which
        # ``asyncio.wait_for`` of Python 3.11 may swallow; without a server, that ends all the same.
        if client is not None:
            client._server_pool.clear()
            with suppress(OSError):
                await client.close()
