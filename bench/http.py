"""An HTTP client that costs as little as possible, so that the server dominates measurements.

It sends many requests over connections that stay open, one after the other on each.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from statistics import quantiles
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Timings:
    """The durations of a number of calls."""

    seconds: float
    """The time from the first call to the end of the last."""
    milliseconds: list[float]
    """The duration of each call."""

    @property
    def rate(self) -> float:
        return len(self.milliseconds) / self.seconds

    def percentile(self, percent: int) -> float:
        return quantiles(self.milliseconds, n=100, method="inclusive")[percent - 1]


class Connection:
    """A connection that stays open. Use it as a context manager."""

    def __init__(self, address: str, token: str = "") -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname, parts.port
        head = f"Host: {parts.netloc}\r\nContent-Type: application/json\r\n"
        self._head = head + (f"Authorization: Bearer {token}\r\n" if token else "")

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def call(self, method: str, path: str, body: object = None) -> bytes:
        """Send a request; return the body of the response, whose status must be a success."""
        if self._reader.at_eof():
            # A server closes a connection that has been idle for a while.
            self._writer.close()
            await self.__aenter__()
        sent = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(sent)}\r\n\r\n"
        self._writer.write(head.encode() + sent)
        status, _, headers = (await self._reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
        length = headers.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        content = await self._reader.readexactly(int(length)) if length else await self._chunks()
        assert status[9:10] == b"2", (status, content)
        return content

    async def _chunks(self) -> bytes:
        """Read a body that is sent in parts."""
        content = []
        while size := int(await self._reader.readline(), 16):
            content.append((await self._reader.readexactly(size + 2))[:-2])
        await self._reader.readline()
        return b"".join(content)

    async def json(self, method: str, path: str, body: object = None) -> Mapping[str, Any]:
        content: Mapping[str, Any] = json.loads(await self.call(method, path, body))
        return content


Call = Callable[[Connection, int], Awaitable[object]]
"""Makes the call with the given number."""


async def run_callers(address: str, token: str, how_many: int, calls: int, call: Call) -> Timings:
    """Measure so many calls in all, by so many callers, each of which waits for every response."""
    durations: list[float] = []

    async def caller(first: int) -> None:
        async with Connection(address, token) as connection:
            for number in range(first, calls, how_many):
                began = time.perf_counter()
                await call(connection, number)
                durations.append(1000 * (time.perf_counter() - began))

    began = time.perf_counter()
    await asyncio.gather(*(caller(first) for first in range(how_many)))
    return Timings(time.perf_counter() - began, durations)
