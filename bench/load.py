"""Load on NATS: callers with one request in flight each, whose requests are counted one by one.

The callers share the machine's cores with the measured processes, so they use as little CPU time as
Python allows: frames are built in advance, without a NATS client. So the result is the speed of the
other processes, and the result for an echo is a hard limit.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast
from urllib.parse import urlsplit

PATIENCE_SECONDS = 60.0
"""Far more than any round takes."""
_INBOX = b"_INBOX.load."
_HELLO = (
    b'CONNECT {"verbose":false,"pedantic":false,"protocol":1,"headers":true,"no_responders":true,'
    b'"name":"load","lang":"python","version":"0"}\r\nSUB ' + _INBOX + b"* 1\r\n"
)


class Request(NamedTuple):
    subject: str
    body: bytes
    wanted: bytes
    """The bytes that its reply must contain."""


class Round(NamedTuple):
    per_second: float
    milliseconds: list[float]
    """The latency of each request."""


async def measure(url: str, callers: Sequence[Sequence[Request]]) -> Round:
    """Send the requests of each caller in turn. Raises `AssertionError` on an unexpected reply."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    host, _, port = urlsplit(url).netloc.partition(":")
    transport, load = await loop.create_connection(lambda: _Load(callers, done), host, int(port))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await load.ready.wait()
            began = time.perf_counter()
            load.begin()
            await done
            return Round(len(load.milliseconds) / (time.perf_counter() - began), load.milliseconds)
    finally:
        transport.close()


class _Load(asyncio.Protocol):
    def __init__(self, callers: Sequence[Sequence[Request]], done: asyncio.Future[None]) -> None:
        self.ready = asyncio.Event()
        self.milliseconds: list[float] = []
        self._frames = [_frames(number, requests) for number, requests in enumerate(callers)]
        self._sent = [0.0] * len(callers)
        self._wanted = [b""] * len(callers)
        self._left = sum(map(len, callers))
        self._done = done
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio's, but not its base classes.
        self._transport = cast(asyncio.Transport, transport)
        # The server answers the ping after it has processed the subscription.
        self._transport.write(_HELLO + b"PING\r\n")

    def begin(self) -> None:
        self._transport.write(b"".join(self._next(number) for number in range(len(self._frames))))

    def data_received(self, data: bytes) -> None:
        try:
            self._transport.write(b"".join(self._next_frames(self._received + data)))
        except (AssertionError, ValueError) as error:
            if not self._done.done():
                self._done.set_exception(error)
            self._transport.close()
        if not self._left and not self._done.done():
            self._done.set_result(None)

    def _next_frames(self, data: bytes) -> Iterator[bytes]:
        """Yield the frame that follows each complete message."""
        at = 0
        while (end := data.find(b"\r\n", at)) >= 0:
            verb, _, rest = data[at:end].partition(b" ")
            if verb == b"MSG":
                inbox, _, size = rest.split(b" ")
                after = end + 2 + int(size) + 2
                if after > len(data):
                    break
                yield self._on_reply(int(inbox[len(_INBOX) :]), data[end + 2 : after - 2])
                end = after - 2
            elif verb == b"PONG":
                self.ready.set()
            elif verb == b"PING":
                yield b"PONG\r\n"
            else:  # A reply with headers is an error.
                assert verb in (b"INFO", b"+OK"), data[at:]
            at = end + 2
        self._received = data[at:]

    def _on_reply(self, caller: int, body: bytes) -> bytes:
        self.milliseconds.append(1000 * (time.perf_counter() - self._sent[caller]))
        self._left -= 1
        assert self._wanted[caller] in body, body
        return self._next(caller)

    def _next(self, caller: int) -> bytes:
        frame, self._wanted[caller] = next(self._frames[caller], (b"", b""))
        self._sent[caller] = time.perf_counter()
        return frame


def _frames(caller: int, requests: Sequence[Request]) -> Iterator[tuple[bytes, bytes]]:
    """Build all frames in advance, with the bytes that each reply must contain."""
    frames = []
    for subject, body, wanted in requests:
        head = f"PUB {subject} {_INBOX.decode()}{caller} {len(body)}\r\n"
        frames.append((head.encode() + body + b"\r\n", wanted))
    return iter(frames)
