"""resmgr over NATS: requests a second with 64 in flight, beside a raw echo in the same run.

Allocations and releases are counted singly. NATS, Valkey, resmgr, the echo and the callers are five
processes that share the machine's cores. Run as ``python -m bench.resmgr``.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import nats
import uvloop
from nats.aio.client import Client

from tests.servers import NatsServer, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab import bus, streams, subjects
from trimtab.events import PoolChanged
from trimtab.settings import ServiceSettings
from trimtab.tokens import COHORT, Allocate, Release

IN_FLIGHT = 64
REQUESTS = 12_800
"""Of one round."""
ROUNDS = 3
"""Echo and resmgr take turns, so that a busy moment of the machine meets both."""
ECHO = "bench.echo"

ECHOING = f"""
import asyncio, sys, nats, uvloop
async def main():
    client = await nats.connect(sys.argv[1])
    async def answer(message):
        await message.respond(message.data)
    await client.subscribe("{ECHO}", cb=answer)
    await asyncio.Future()
uvloop.run(main())
"""


class Round(NamedTuple):
    per_second: float
    milliseconds: list[float]
    """Of each request."""


@contextmanager
def process(*arguments: str, **settings: str) -> Iterator[None]:
    environment = {**os.environ, **{f"TRIMTAB_{key}": value for key, value in settings.items()}}
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as running:
        try:
            yield
        finally:
            running.send_signal(signal.SIGTERM)


async def answering(client: Client, subject: str, body: bytes) -> None:
    """Wait until somebody answers."""
    while True:
        try:
            await client.request(subject, body, timeout=1.0)
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
            await asyncio.sleep(0.05)
        else:
            return


async def measured(pair: Callable[[str, list[float]], Awaitable[None]]) -> Round:
    taken: list[float] = []

    async def caller(number: int) -> None:
        for turn in range(REQUESTS // IN_FLIGHT // 2):
            await pair(f"execution-{number}/node/{turn}", taken)

    began = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(IN_FLIGHT)))
    return Round(len(taken) / (time.perf_counter() - began), taken)


async def timed(client: Client, subject: str, body: bytes, taken: list[float]) -> bytes:
    began = time.perf_counter()
    answer = await client.request(subject, body, timeout=10.0)
    taken.append(1000 * (time.perf_counter() - began))
    return answer.data


async def rounds(client: Client) -> tuple[list[Round], list[Round]]:
    """Of the echo and of resmgr, with bodies of the same size."""

    def bodies(token: str) -> tuple[bytes, bytes]:
        ask = Allocate(pool="gpu", token=token, project="flytesnacks", domain="development")
        give = Release(pool="gpu", token=token)
        return ask.model_dump_json().encode(), give.model_dump_json().encode()

    async def echo(token: str, taken: list[float]) -> None:
        for body in bodies(token):
            await timed(client, ECHO, body, taken)

    async def resmgr(token: str, taken: list[float]) -> None:
        for operation, body in zip(("allocate", "release"), bodies(token), strict=True):
            answer = await timed(client, subjects.resmgr(operation, COHORT), body, taken)
            assert b"granted" in answer or b'released":true' in answer, answer

    await answering(client, ECHO, b"")
    await answering(client, subjects.resmgr("inspect", COHORT), b'{"pool": "gpu"}')
    pairs = [(await measured(echo), await measured(resmgr)) for _ in range(ROUNDS)]
    return [echoes for echoes, _ in pairs], [granted for _, granted in pairs]


async def load(nats_server: NatsServer, valkey_server: ValkeyServer) -> tuple[list[Round], ...]:
    async with bus.connected(ServiceSettings(nats_url=nats_server.url), "bench") as client:
        await streams.bootstrap(client)
        await SettingsStream(client).announce(PoolChanged(name="gpu", quota=1000))
        block = f'{{"type": "redis", "redis": {{"hostPaths": ["127.0.0.1:{valkey_server.port}"]}}}}'
        with (
            process("-c", ECHOING, nats_server.url),
            process("-m", "trimtab_resmgr", NATS_URL=nats_server.url, RESOURCEMANAGER=block),
        ):
            return await rounds(client)


def line(name: str, measured: list[Round]) -> str:
    cuts = quantiles((each for one in measured for each in one.milliseconds), n=100)
    rate = median(one.per_second for one in measured)
    return f"{name:31} {rate:8.0f} /s   p50 {cuts[49]:5.1f} ms   p99 {cuts[98]:5.1f} ms"


def run() -> None:
    with (
        tempfile.TemporaryDirectory() as path,
        NatsServer(Path(path) / "nats") as nats_server,
        ValkeyServer(Path(path) / "valkey") as valkey_server,
    ):
        echo, resmgr = uvloop.run(load(nats_server, valkey_server))
    share = median(one.per_second for one in resmgr) / median(one.per_second for one in echo)
    print(line("limit: raw NATS echo", echo))
    print(line("resmgr, allocate and release", resmgr) + f"   goal ≥ 3000/s ({share:.0%} of echo)")


if __name__ == "__main__":
    run()
