"""One cohort, asked without NATS: what its scripts do, and what they say beside their answers."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

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
from trimtab_resmgr import asking, pools
from trimtab_resmgr.asking import Answer, Request
from trimtab_resmgr.config import Redis
from trimtab_resmgr.connection import connect
from trimtab_resmgr.leases import Contents, Leases, Limits, News, Rules

CEILING = 1_000_000


class Cohort:
    """Leases, with the pools that they are asked of."""

    def __init__(self, leases: Leases, rules: Rules, news: list[News]) -> None:
        self.leases = leases
        self.news = news
        self._longest = rules.lease
        self._revision = 0
        self.limits: dict[str, Limits] = {}

    def declare(self, *declared: PoolChanged) -> None:
        """Known to the scripts with the next request that names them."""
        for pool in declared:
            self._revision += 1
            self.limits[pool.name] = (pool.name, pools.limits(pool, self._revision, CEILING))

    async def allocate(self, token: str, pool: str | None = "gpu", **more: Any) -> Allocated:
        where = {"project": "flytesnacks", "domain": "development"}
        ask = Allocate(token=token, pool=pool, **{**where, **more})
        limits = self._of(units.pool for units in ask.units)
        answer = await self._asked(asking.allocate(ask, self._longest), limits)
        return asking.allocated(ask, self._longest, answer)

    async def renew(self, token: str, pool: str | None = "gpu", **more: Any) -> Renewed:
        ask = Renew(token=token, pool=pool, **more)
        answer = await self._asked(asking.renew(ask, self._longest))
        return asking.renewed(ask, self._longest, answer)

    async def reassert(self, token: str, fence: int | None, **more: Any) -> Renewed:
        where = {"project": "flytesnacks", "domain": "development", "pool": "gpu"}
        ask = Reassert.model_validate({"token": token, "fence": fence, **where, **more})
        answer = await self._asked(asking.reassert(ask, self._longest))
        return asking.renewed(ask, self._longest, answer)

    async def release(self, token: str, pool: str | None = "gpu", **more: Any) -> Released:
        ask = Release(token=token, pool=pool, **more)
        return asking.released(await self._asked(asking.release(ask)))

    async def force(self, token: str) -> Released:
        ask = ForceRelease(token=token, pool="gpu", actor="ann", why="it hangs")
        return asking.released(await self._asked(asking.force(ask)))

    async def reprioritize(
        self, token: str, priority: int, pools: tuple[str, ...] = ("gpu",)
    ) -> Reprioritized:
        ask = Reprioritize(token=token, pools=pools, priority=priority)
        return asking.reprioritized(await self._asked(asking.reprioritize(ask)))

    async def announce(self, pool: str) -> None:
        """Make the limits known now."""
        await self.leases.declare([self.limits[pool]])

    async def sweep(self) -> None:
        await self.leases.sweep()

    async def inspect(self, pool: str = "gpu") -> Contents:
        return await self.leases.inspect(pool)

    async def audit(self, pool: str = "gpu") -> tuple[str, ...]:
        differences, _ = await self.leases.audit(pool)
        return differences

    async def _asked(self, request: Request, limits: tuple[Limits, ...] = ()) -> Answer:
        [answer] = await self.leases.ask((request, limits))
        return answer

    def _of(self, names: Iterable[str]) -> tuple[Limits, ...]:
        return tuple(self.limits[name] for name in names)


@asynccontextmanager
async def cohort(port: int, rules: Rules, *declared: PoolChanged) -> AsyncIterator[Cohort]:
    """On the server at this port of loopback."""
    client = connect(Redis(host_paths=(f"127.0.0.1:{port}",)))
    news: list[News] = []
    async with client, asyncio.TaskGroup() as tasks:
        found = Cohort(Leases(client, tasks, "default", rules, news.append), rules, news)
        found.declare(*declared)
        yield found
