"""A pool with 1,000,000 held beside one with 10: time, CPU time of Redis, and its memory.

Each has servers and a resmgr of its own. They are asked in turns, over NATS, with 64 in flight. Run
as ``python -m bench.held``.
"""

import asyncio
from statistics import median
from typing import NamedTuple

import redis.asyncio as redis
import uvloop

from bench import system
from bench.load import measured
from bench.resmgr import callers
from bench.system import CEILING, LEASE_SECONDS, System
from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import COHORT, Allocate
from trimtab_resmgr import config, connection, pools
from trimtab_resmgr.leases import Leases, Rules

FEW, MANY = 10, 1_000_000
REQUESTS = 12_800
"""Of one round."""
WARMING = 3
"""Rounds that do not count: where the file was just written anew, the first write to each page of
memory copies it."""
ROUNDS = 5
POOL = PoolChanged(name="gpu", quota=CEILING)


class Figures(NamedTuple):
    """Of one request."""

    milliseconds: float
    """End to end."""
    redis_micros: float
    """CPU time."""


async def fill(port: int, held: int) -> None:
    """Without the append-only file, which is written anew afterwards and not while we measure."""
    where = config.Redis(host_paths=(f"127.0.0.1:{port}",), max_retries=10)
    async with (
        redis.Redis(port=port) as server,
        connection.connect(where) as client,
        asyncio.TaskGroup() as tasks,
    ):
        await server.config_set("appendonly", "no")
        leases = Leases(client, tasks, COHORT, Rules(lease=LEASE_SECONDS))
        limits = (POOL.name, pools.limits(POOL, 0, CEILING))
        await system.hold(leases, map(holder, range(held)), limits)
        await server.config_set("appendonly", "yes")
        while (await server.info("persistence"))["aof_rewrite_in_progress"]:
            await asyncio.sleep(0.1)


def holder(number: int) -> Allocate:
    """One of some projects, with a token as Flyte would name it."""
    project = f"project-{number % 100}"
    return Allocate(
        pool=POOL.name,
        token=f"ex:{project}:development:f{number:x}-n0-0",
        project=project,
        domain="development",
        lease_seconds=LEASE_SECONDS,
    )


async def memory(port: int) -> int:
    """Bytes that the server has given to data."""
    async with redis.Redis(port=port) as client:
        return int((await client.info("memory"))["used_memory_dataset"])


async def asked(system: System) -> Figures:
    requests = callers(POOL.name, REQUESTS)
    before = system.cpu_seconds()["valkey-server"]
    found = await measured(system.nats.url, requests)
    seconds = system.cpu_seconds()["valkey-server"] - before
    return Figures(median(found.milliseconds), 1e6 * seconds / REQUESTS)


async def measure() -> tuple[Figures, Figures, float]:
    """With few held, with many held, and the bytes of each of the many."""
    async with system.running(POOL) as one, system.running(POOL) as other:
        await fill(one.valkey.port, FEW)
        before = await memory(other.valkey.port)
        await fill(other.valkey.port, MANY)
        weight = (await memory(other.valkey.port) - before) / MANY
        rounds = [(await asked(one), await asked(other)) for _ in range(WARMING + ROUNDS)]
        del rounds[:WARMING]
    few, many = ([*map(median, zip(*column, strict=True))] for column in zip(*rounds, strict=True))
    return Figures(*few), Figures(*many), weight


def run() -> None:
    few, many, weight = uvloop.run(measure())
    for held, found in ((FEW, few), (MANY, many)):
        print(
            f"{f'request with {held:,} held':31} {found.milliseconds:8.2f} ms   "
            f"Redis {found.redis_micros:5.1f} µs of CPU time"
        )
    print(
        f"{'  many ÷ few':31} {many.milliseconds / few.milliseconds:8.2f}      "
        f"Redis {many.redis_micros / few.redis_micros:5.2f}      goal ≤ 1.2, Redis ≤ 2"
    )
    print(f"{'memory of a held token':31} {weight:8.0f} bytes")


if __name__ == "__main__":
    run()
