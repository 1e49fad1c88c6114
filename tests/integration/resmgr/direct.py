"""A cohort on a real Redis without NATS: calls of its scripts, and the effects that they report."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import redis

from tests.servers import PATIENCE_SECONDS, ValkeyServer
from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import (
    Allocate,
    Allocated,
    ForceRelease,
    Reassert,
    Release,
    Released,
    Renew,
    Renewed,
    Reprioritize,
    Reprioritized,
)
from trimtab_resmgr import encoding
from trimtab_resmgr.config import Redis
from trimtab_resmgr.encoding import Reply, Request
from trimtab_resmgr.limits import PoolState
from trimtab_resmgr.scripts import connect
from trimtab_resmgr.store import CohortStore, Contents, Effects, PoolLimits, Rules

CEILING = 1_000_000
SCOPE = {"project": "flytesnacks", "domain": "development"}


class Cohort:
    """The store of a cohort, the limits of its pools, and the effects of all calls so far."""

    def __init__(self, store: CohortStore, rules: Rules, effects: list[Effects]) -> None:
        self.store = store
        self.effects = effects
        self._max_lease = rules.max_lease
        self._revision = 0
        self.limits: dict[str, PoolLimits] = {}

    def declare(self, *pools: PoolChanged) -> None:
        """Change pools. The scripts get the limits with the next request for a pool."""
        for pool in pools:
            self._revision += 1
            version = encoding.Version(0, self._revision)
            limits = encoding.pool_limits(pool, version, CEILING)
            self.limits[pool.name] = (pool.name, limits)

    async def declare_now(self, pool: str) -> None:
        """Send the limits of a pool to the scripts."""
        await self.store.declare([self.limits[pool]])

    async def allocate(self, token: str, pool: str | None = "gpu", **more: Any) -> Allocated:
        request = Allocate(token=token, pool=pool, **{**SCOPE, **more})
        limits = self._limits_of(units.pool for units in request.units)
        reply = await self._submit(encoding.allocate(request, self._max_lease), limits)
        return encoding.parse_allocated(request, self._max_lease, reply)

    async def renew(self, token: str, pool: str | None = "gpu", **more: Any) -> Renewed:
        request = Renew(token=token, pool=pool, **more)
        reply = await self._submit(encoding.renew(request, self._max_lease))
        return encoding.parse_renewed(request, self._max_lease, reply)

    async def reassert(self, token: str, fence: int | None, **more: Any) -> Renewed:
        fields = {"token": token, "fence": fence, "pool": "gpu", **SCOPE, **more}
        request = Reassert.model_validate(fields)
        reply = await self._submit(encoding.reassert(request, self._max_lease))
        return encoding.parse_renewed(request, self._max_lease, reply)

    async def release(self, token: str, pool: str | None = "gpu", **more: Any) -> Released:
        request = Release(token=token, pool=pool, **more)
        return encoding.parse_released(await self._submit(encoding.release(request)))

    async def force_release(self, token: str) -> Released:
        request = ForceRelease(token=token, pool="gpu", actor="ann", why="it hangs")
        return encoding.parse_released(await self._submit(encoding.force_release(request)))

    async def reprioritize(
        self, token: str, priority: int, pools: tuple[str, ...] = ("gpu",)
    ) -> Reprioritized:
        request = Reprioritize(token=token, pools=pools, priority=priority)
        return encoding.parse_reprioritized(await self._submit(encoding.reprioritize(request)))

    async def sweep(self) -> None:
        await self.store.sweep()

    async def inspect(self, pool: str = "gpu") -> Contents:
        return await self.store.inspect(pool)

    async def state(self, pool: str = "gpu") -> PoolState:
        """Return the use of a pool, and what blocks its first waiter."""
        _, states = await self.store.pools([pool])
        return states[pool]

    async def recount(self, pool: str = "gpu") -> tuple[str, ...]:
        differences, _ = await self.store.recount(pool)
        return differences

    async def _submit(self, request: Request, limits: tuple[PoolLimits, ...] = ()) -> Reply:
        [reply] = await self.store.submit((request, limits))
        return reply

    def _limits_of(self, names: Iterable[str]) -> tuple[PoolLimits, ...]:
        return tuple(self.limits[name] for name in names)


@asynccontextmanager
async def open_cohort(
    port: int, rules: Rules, *pools: PoolChanged, name: str = "default"
) -> AsyncIterator[Cohort]:
    """Yield a cohort with these pools, on the server at this port of loopback."""
    client = connect(Redis(host_paths=(f"127.0.0.1:{port}",)), timeout=PATIENCE_SECONDS)
    effects: list[Effects] = []
    async with client, asyncio.TaskGroup() as tasks:
        store = CohortStore(client, tasks, name, rules, effects.append)
        cohort = Cohort(store, rules, effects)
        cohort.declare(*pools)
        yield cohort


def end_leases(server: ValkeyServer, pool: str = "gpu") -> None:
    """End all leases of a pool at once, and their grace."""
    prefix = "trimtab:{default}:"
    with redis.Redis.from_url(server.url) as client:
        tokens = client.zrange(f"{prefix}leases:{pool}", 0, -1)
        client.zadd(f"{prefix}leases:{pool}", dict.fromkeys(tokens, 1), xx=True)
        client.zadd(f"{prefix}due", {pool: 1}, xx=True)
