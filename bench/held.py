"""A pool with 10 held beside one with 1,000,000: time, CPU time of Redis, and its memory.

Both are in one cohort of one server and are asked in turns, over NATS, with 64 in flight. Run as
``python -m bench.held``.
"""

import asyncio
from collections.abc import Iterable
from statistics import median

import redis.asyncio as redis
import uvloop

from bench import system
from bench.load import measured
from bench.resmgr import callers
from bench.system import CEILING, LEASE_SECONDS, System
from trimtab.events import PoolChanged
from trimtab.tokens import COHORT, Allocate
from trimtab_resmgr import connection, pools, settings
from trimtab_resmgr.leases import Leases, Rules

FEW, MANY = 10, 1_000_000
POOLS = {"few": FEW, "many": MANY}
REQUESTS = 12_800
"""Of one round."""
ROUNDS = 5


async def fill(port: int) -> None:
    """Without the append-only file, which is written anew afterwards and not while we measure."""
    where = settings.Redis(host_paths=(f"127.0.0.1:{port}",), max_retries=10)
    async with (
        redis.Redis(port=port) as server,
        connection.connect(where) as client,
        asyncio.TaskGroup() as tasks,
    ):
        await server.config_set("appendonly", "no")
        leases = Leases(client, tasks, COHORT, Rules(lease=LEASE_SECONDS))
        for pool, held in POOLS.items():
            limits = (pool, pools.limits(PoolChanged(name=pool, quota=CEILING), 0, CEILING))
            asks = (holder(pool, number) for number in range(held))
            await system.hold(leases, asks, limits)
        await server.config_set("appendonly", "yes")
        while (await server.info("persistence"))["aof_rewrite_in_progress"]:
            await asyncio.sleep(0.1)


def holder(pool: str, number: int) -> Allocate:
    """One of some projects, with a token as Flyte would name it."""
    project = f"project-{number % 100}"
    return Allocate(
        pool=pool,
        token=f"ex:{project}:development:f{number:x}-n0-0",
        project=project,
        domain="development",
        lease_seconds=LEASE_SECONDS,
    )


async def memory(port: int) -> int:
    """Bytes that the server has given to data."""
    async with redis.Redis(port=port) as client:
        return int((await client.info("memory"))["used_memory_dataset"])


async def rounds(system: System) -> tuple[dict[str, float], dict[str, float]]:
    """Of each pool milliseconds of a request end to end, and CPU time of Redis in µs for one."""
    taken: dict[str, list[float]] = {pool: [] for pool in POOLS}
    used: dict[str, list[float]] = {pool: [] for pool in POOLS}
    for _ in range(ROUNDS):
        for pool in POOLS:
            asked = callers(pool, REQUESTS)
            before = system.cpu_seconds()["valkey-server"]
            taken[pool].append(median((await measured(system.nats.url, asked)).milliseconds))
            seconds = system.cpu_seconds()["valkey-server"] - before
            used[pool].append(1e6 * seconds / REQUESTS)
    return medians(taken.items()), medians(used.items())


def medians(found: Iterable[tuple[str, list[float]]]) -> dict[str, float]:
    return {pool: median(values) for pool, values in found}


async def measure() -> tuple[dict[str, float], dict[str, float], float]:
    declared = [PoolChanged(name=pool, quota=CEILING) for pool in POOLS]
    async with system.running(*declared) as found:
        before = await memory(found.valkey.port)
        await fill(found.valkey.port)
        added = await memory(found.valkey.port) - before
        return *await rounds(found), added / (FEW + MANY)


def run() -> None:
    taken, used, weight = uvloop.run(measure())
    for pool, held in POOLS.items():
        print(
            f"{f'request with {held:,} held':31} {taken[pool]:8.2f} ms   "
            f"Redis {used[pool]:5.1f} µs of CPU time"
        )
    print(
        f"{'  many ÷ few':31} {taken['many'] / taken['few']:8.2f}      "
        f"Redis {used['many'] / used['few']:5.2f}      goal ≤ 1.2, Redis ≤ 2"
    )
    print(f"{'memory of a held token':31} {weight:8.0f} bytes")


if __name__ == "__main__":
    run()
