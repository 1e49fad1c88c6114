"""A proxy in front of a server, that makes it slow in bursts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random

BURST_SECONDS = 1
BURST_EVERY = 4
"""Of so many bursts of time one is slow."""
SHARE = 0.2
"""Of what is asked in a slow one: one of twenty in all."""
LONGEST_SECONDS = 0.5


@asynccontextmanager
async def slowed(port: int, chance: Random) -> AsyncIterator[int]:
    """The port of the proxy, for as long as this lasts."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", port)
            writers.add(back)
            ways = [
                asyncio.create_task(_forward(reader, back, chance)),
                asyncio.create_task(_forward(there, writer, None)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            back.close()
            writers.discard(back)
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
    """``chance`` where it may be slow."""
    while data := await reader.read(65536):
        burst = int(asyncio.get_running_loop().time() / BURST_SECONDS) % BURST_EVERY == 0
        if chance is not None and burst and chance.random() < SHARE:
            await asyncio.sleep(chance.uniform(0, LONGEST_SECONDS))
        writer.write(data)
        await writer.drain()
