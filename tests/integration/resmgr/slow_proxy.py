"""A proxy that makes a server slow in bursts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random

BURST_SECONDS = 1
BURST_EVERY = 4
"""One in so many periods of `BURST_SECONDS` is slow."""
SLOW_SHARE = 0.2
"""The share of packets that are delayed in a slow period: one in twenty in all."""
LONGEST_SECONDS = 0.5


@asynccontextmanager
async def slow_proxy(port: int, chance: Random) -> AsyncIterator[int]:
    """Yield the port of a proxy to a port of loopback."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with suppress(OSError):
            from_server, to_server = await asyncio.open_connection("127.0.0.1", port)
            writers.add(to_server)
            directions = [
                asyncio.create_task(_forward(reader, to_server, chance)),
                asyncio.create_task(_forward(from_server, writer, None)),
            ]
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            to_server.close()
            writers.discard(to_server)
        writer.close()
        writers.discard(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        while writers:
            for writer in list(writers):
                writer.close()
            await asyncio.sleep(0.01)


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chance: Random | None
) -> None:
    """Copy a stream; ``None`` for ``chance`` delays nothing."""
    while data := await reader.read(65536):
        burst = int(asyncio.get_running_loop().time() / BURST_SECONDS) % BURST_EVERY == 0
        if chance is not None and burst and chance.random() < SLOW_SHARE:
            await asyncio.sleep(chance.uniform(0, LONGEST_SECONDS))
        writer.write(data)
        await writer.drain()
