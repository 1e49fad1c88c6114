"""A pool with 1,000,000 held tokens and one with 10: time, CPU time of Redis, and its memory.

Each has servers and a resmgr of its own. They are measured in turn, over NATS, with 64 requests in
flight. Run as ``python -m bench.held``.
"""

import asyncio
from statistics import median
from typing import NamedTuple

import redis.asyncio as redis
import uvloop

from bench import system
from bench.load import measure as measure_load
from bench.resmgr import callers
from bench.system import CEILING, LEASE_SECONDS, System
from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import COHORT, Allocate
from trimtab_resmgr import config, encoding, scripts
from trimtab_resmgr.store import CohortStore, Rules

FEW, MANY = 10, 1_000_000
REQUESTS = 12_800
"""The number of requests in one round."""
WARMING = 3
"""Rounds that do not count: after a rewrite of the append-only file, the first write to a page of
memory copies the page."""
ROUNDS = 5
POOL = PoolChanged(name="gpu", quota=CEILING)


class Figures(NamedTuple):
    """The cost of one request."""

    milliseconds: float
    """The latency for the caller."""
    redis_micros: float
    """CPU time."""


async def fill(port: int, held: int) -> None:
    """Store tokens without the append-only file, which is rewritten before the measurement."""
    block = config.Redis(host_paths=(f"127.0.0.1:{port}",), max_retries=10)
    async with (
        redis.Redis(port=port) as server,
        scripts.connect(block) as client,
        asyncio.TaskGroup() as tasks,
    ):
        await server.config_set("appendonly", "no")
        store = CohortStore(client, tasks, COHORT, Rules(max_lease=LEASE_SECONDS))
        limits = (POOL.name, encoding.pool_limits(POOL, encoding.Version(0, 0), CEILING))
        await system.hold(store, map(holder, range(held)), limits)
        await server.config_set("appendonly", "yes")
        while (await server.info("persistence"))["aof_rewrite_in_progress"]:
            await asyncio.sleep(0.1)


def holder(number: int) -> Allocate:
    """Return the request of a holder, in one of 100 projects, with a token as Flyte names it."""
    project = f"project-{number % 100}"
    return Allocate(
        pool=POOL.name,
        token=f"ex:{project}:development:f{number:x}-n0-0",
        project=project,
        domain="development",
        lease_seconds=LEASE_SECONDS,
    )


async def memory(port: int) -> int:
    """Return the bytes that the server uses for data."""
    async with redis.Redis(port=port) as client:
        return int((await client.info("memory"))["used_memory_dataset"])


async def measure_round(system: System) -> Figures:
    requests = callers(POOL.name, REQUESTS)
    before = system.cpu_seconds()["valkey-server"]
    found = await measure_load(system.nats.url, requests)
    seconds = system.cpu_seconds()["valkey-server"] - before
    return Figures(median(found.milliseconds), 1e6 * seconds / REQUESTS)


async def measure() -> tuple[Figures, Figures, float]:
    """Return the figures with few and with many held tokens, and the bytes of a token."""
    async with system.running(POOL) as one, system.running(POOL) as other:
        await fill(one.valkey.port, FEW)
        before = await memory(other.valkey.port)
        await fill(other.valkey.port, MANY)
        weight = (await memory(other.valkey.port) - before) / MANY
        rounds = [
            (await measure_round(one), await measure_round(other)) for _ in range(WARMING + ROUNDS)
        ]
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
