"""Publishes messages that no client of Trimtab would publish, byte by byte."""

import asyncio
import json
from collections.abc import Iterable
from typing import NamedTuple

from tests.servers import PATIENCE_SECONDS, NatsServer


class Stray(NamedTuple):
    """A message, and what its headers have after ``NATS/1.0``; ``None`` for no headers."""

    subject: bytes
    headers: bytes | None
    body: bytes

    def frame(self) -> bytes:
        if self.headers is None:
            return b"PUB %b %d\r\n%b\r\n" % (self.subject, len(self.body), self.body)
        head = b"NATS/1.0" + self.headers + b"\r\n\r\n"
        sizes = (self.subject, len(head), len(head) + len(self.body))
        return b"HPUB %b %d %d\r\n%b%b\r\n" % (*sizes, head, self.body)


async def publish(server: NatsServer, strays: Iterable[Stray]) -> None:
    """Publish messages and wait until the server has read them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    options = {"verbose": False, "headers": True, "user": server.user, "pass": server.password}
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            writer.write(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
            for stray in strays:
                writer.write(stray.frame())
                await writer.drain()
            writer.write(b"PING\r\n")
            while (line := await reader.readline()) != b"PONG\r\n":
                assert line.startswith(b"INFO "), line
    finally:
        writer.close()
