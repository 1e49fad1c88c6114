"""Tokens taken and released per second: one script, and the four round trips of Flyte.

Both call Redis directly, from 64 callers with caps of project and domain, in a pool that has many
held tokens already. Flyte's ResourceManager reads whether the token is a member, how many members
there are, and all of them to count those of the project, and then adds it: two callers can do so at
the same time, and each reply grows with the pool. `RoundTrips` is written from its description,
with a connection for each caller. Run as ``python -m bench.roundtrips``.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import cast

import redis.asyncio as redis
import uvloop

from bench import system
from bench.system import LEASE_SECONDS
from tests.servers import ValkeyServer
from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import Allocate, Release
from trimtab_resmgr import config, encoding, scripts
from trimtab_resmgr.store import CohortStore, PoolLimits, Rules

HELD = (100, 1_000, 10_000)
GOAL = 50
"""The smallest ratio of the two with the most held tokens."""
QUOTA = 1_000_000
CALLERS = 64
SECONDS = 1.5
"""The duration of one round."""
ROUNDS = 3
PROJECT, DOMAIN = "flytesnacks", "development"
PROJECTS = 10
"""The number of projects that hold tokens, including the one of the callers."""

Turn = Callable[[str], Awaitable[None]]
"""Takes a token and releases it."""


def owner(number: int) -> str:
    return PROJECT if number % PROJECTS == 0 else f"project-{number % PROJECTS}"


class RoundTrips:
    """A set of tokens for each pool, with project and domain in their names."""

    KEY = "flyte:gpu"

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    async def hold(self, held: int) -> None:
        members = [f"ex:{owner(number)}:{DOMAIN}:f{number:x}-n0-0" for number in range(held)]
        await self._redis.sadd(self.KEY, *members)

    async def turn(self, token: str) -> None:
        member = f"ex:{PROJECT}:{DOMAIN}:{token}"
        assert await self._allocate(member)
        await self._redis.srem(self.KEY, member)

    async def _allocate(self, member: str) -> bool:
        if await self._redis.sismember(self.KEY, member):
            return True
        if await self._redis.scard(self.KEY) >= QUOTA:
            return False
        # The client does not decode replies.
        members = cast(set[bytes], await self._redis.smembers(self.KEY))
        for scope in (f"ex:{PROJECT}".encode(), f"ex:{PROJECT}:{DOMAIN}".encode()):
            if sum(each.startswith(scope) for each in members) >= QUOTA:
                return False
        await self._redis.sadd(self.KEY, member)
        return True


class OneScript:
    """The script of resmgr."""

    LIMITS: PoolLimits = (
        "gpu",
        encoding.pool_limits(PoolChanged(name="gpu", quota=QUOTA), encoding.Version(0, 0), QUOTA),
    )

    def __init__(self, store: CohortStore) -> None:
        self._store = store

    async def hold(self, held: int) -> None:
        requests = (allocate(f"f{number:x}-n0-0", owner(number)) for number in range(held))
        await system.hold(self._store, requests, self.LIMITS)

    async def turn(self, token: str) -> None:
        request = encoding.allocate(allocate(token, PROJECT), LEASE_SECONDS)
        [reply] = await self._store.submit((request, (self.LIMITS,)))
        assert reply[0] == encoding.AllocationReply.GRANTED
        await self._store.submit((encoding.release(Release(pool="gpu", token=token)), ()))


def allocate(token: str, project: str) -> Allocate:
    return Allocate(
        pool="gpu",
        token=token,
        project=project,
        domain=DOMAIN,
        lease_seconds=LEASE_SECONDS,
        project_cap=QUOTA,
        project_domain_cap=QUOTA,
    )


async def per_second(turn: Turn) -> float:
    """Return the turns per second of all callers together."""
    began = time.perf_counter()

    async def caller(number: int) -> int:
        turns = 0
        while time.perf_counter() - began < SECONDS:
            await turn(f"{number}/{turns}")
            turns += 1
        return turns

    turns = sum(await asyncio.gather(*map(caller, range(CALLERS))))
    return turns / (time.perf_counter() - began)


async def measure(port: int) -> list[tuple[float, float]]:
    """Return the turns per second for each number of held tokens: of resmgr, of Flyte."""
    found = []
    own = scripts.connect(config.Redis(host_paths=(f"127.0.0.1:{port}",)))
    async with (
        redis.Redis(port=port, max_connections=CALLERS) as client,
        own,
        asyncio.TaskGroup() as tasks,
    ):
        ours = OneScript(CohortStore(own, tasks, "default", Rules(max_lease=LEASE_SECONDS)))
        theirs = RoundTrips(client)
        for held in HELD:
            await ours.hold(held)
            await theirs.hold(held)
            rounds = [
                (await per_second(ours.turn), await per_second(theirs.turn)) for _ in range(ROUNDS)
            ]
            found.append(tuple(median(column) for column in zip(*rounds, strict=True)))
    return found


def run() -> None:
    with tempfile.TemporaryDirectory() as path, ValkeyServer(Path(path)) as valkey:
        found = uvloop.run(measure(valkey.port))
    for held, (ours, theirs) in zip(HELD, found, strict=True):
        goal = f"   goal ≥ {GOAL}" if held == HELD[-1] else ""
        print(
            f"{f'taken and released, {held:,} held':31} {ours:8.0f} /s   "
            f"four round trips {theirs:6.0f} /s   ratio {ours / theirs:5.1f}{goal}"
        )


if __name__ == "__main__":
    run()
