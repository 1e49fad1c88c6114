"""HTTP as cheap as it can be had, so that what is measured is the server.

Many requests over connections that stay, one after the other on each.
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
class Taken:
    """What a number of calls took."""

    seconds: float
    """All together."""
    milliseconds: list[float]
    """Each."""

    @property
    def rate(self) -> float:
        return len(self.milliseconds) / self.seconds

    def percentile(self, percent: int) -> float:
        return quantiles(self.milliseconds, n=100, method="inclusive")[percent - 1]


class Connection:
    """One that stays open. Use it as a context manager."""

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
        """The body of the answer, which must be a good one."""
        if self._reader.at_eof():
            # A server closes what has been quiet for a while.
            self._writer.close()
            await self.__aenter__()
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(content)}\r\n\r\n"
        self._writer.write(head.encode() + content)
        status, _, headers = (await self._reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
        length = headers.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        answer = await self._reader.readexactly(int(length))
        assert status[9:10] == b"2", (status, answer)
        return answer

    async def json(self, method: str, path: str, body: object = None) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = json.loads(await self.call(method, path, body))
        return answer


Call = Callable[[Connection, int], Awaitable[object]]
"""Makes one call, told which one it is."""


async def callers(address: str, token: str, how_many: int, calls: int, call: Call) -> Taken:
    """So many calls in all, by so many callers that wait for each answer."""
    taken: list[float] = []

    async def caller(first: int) -> None:
        async with Connection(address, token) as connection:
            for number in range(first, calls, how_many):
                began = time.perf_counter()
                await call(connection, number)
                taken.append(1000 * (time.perf_counter() - began))

    began = time.perf_counter()
    await asyncio.gather(*(caller(first) for first in range(how_many)))
    return Taken(time.perf_counter() - began, taken)
