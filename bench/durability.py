"""The cost of `sync_interval: always`: publishing to a stream whose server syncs each write.

The limit is a file that is synced after each write. Run as ``python -m bench.durability``.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import repeat
from pathlib import Path

import nats
from nats.js import JetStreamContext

from tests.servers import NatsServer

BODY = b"x" * 400
"""About the size of an event."""
SERIAL, PARALLEL, IN_FLIGHT, FSYNCS = 2_000, 10_000, 50, 1_000


async def rate(publish: Callable[[], Awaitable[object]], count: int, at_once: int) -> float:
    """Return publishes per second, with so many at once."""
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await publish()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in repeat(None, at_once)))
    return count / (time.perf_counter() - began)


async def measure(directory: Path, interval: str) -> tuple[float, float]:
    """Return publishes per second, one at a time and many at once."""
    config = directory / "nats.conf"
    config.write_text(f"jetstream {{ sync_interval: {interval} }}")
    with NatsServer(directory / "nats", config=config) as server:
        client = await nats.connect(server.url)
        jetstream: JetStreamContext = client.jetstream()
        await jetstream.add_stream(name="EVENTS", subjects=["events"])
        serial = await rate(lambda: jetstream.publish("events", BODY), SERIAL, 1)
        parallel = await rate(lambda: jetstream.publish("events", BODY), PARALLEL, IN_FLIGHT)
        await client.close()
    return serial, parallel


def fsyncs(directory: Path) -> float:
    """Return synced writes per second to one file."""
    with (directory / "file").open("wb", buffering=0) as file:
        began = time.perf_counter()
        for _ in range(FSYNCS):
            file.write(BODY)
            os.fsync(file)
        return FSYNCS / (time.perf_counter() - began)


def run() -> None:
    with tempfile.TemporaryDirectory() as path:
        base = Path(path)
        rates = {}
        for interval in ("2m", "always"):
            (base / interval).mkdir()
            rates[interval] = asyncio.run(measure(base / interval, interval))
        limit = fsyncs(base)
    for column, how in enumerate(("one at a time", f"{IN_FLIGHT} at once")):
        default, synced = rates["2m"][column], rates["always"][column]
        print(f"  default, {how:24} {default:7,.0f}/s")
        print(f"  always, {how:25} {synced:7,.0f}/s  {synced / default:.0%} of the default")
    print(f"  limit: writes to a synced file    {limit:7,.0f}/s")


if __name__ == "__main__":
    run()
