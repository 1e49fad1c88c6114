"""The two types of resmgr: ``redis`` counts and limits, ``noop`` says yes."""

import asyncio
from contextlib import suppress
from typing import Protocol

from trimtab.api import PoolBody
from trimtab.client import Pools
from trimtab.errors import Conflict, Invalid, Retryable, Stale, Unavailable
from trimtab.events import PoolChanged
from trimtab.tokens import (
    Allocate,
    Allocated,
    Inspect,
    Inspected,
    Register,
    Registered,
    Release,
    Released,
)
from trimtab.view import View
from trimtab_resmgr import pools
from trimtab_resmgr.leases import Leases

NEWS_SECONDS = 0.5
"""How long an unknown pool is given to show itself: another replica may have seen it first."""
REGISTER_SECONDS = 5.0
"""How long admin may take to publish a pool that it has created."""


class Granting(Protocol):
    """What every type of resmgr answers."""

    async def register(self, ask: Register) -> Registered: ...

    async def allocate(self, ask: Allocate) -> Allocated: ...

    async def release(self, ask: Release) -> Released: ...

    async def inspect(self, ask: Inspect) -> Inspected: ...


class Always:
    """Type ``noop``: grants without looking at pools or caps, and keeps nothing."""

    def __init__(self, view: View) -> None:
        self._view = view

    async def register(self, ask: Register) -> Registered:
        return Registered(pool=ask.pool, quota=ask.quota)

    async def allocate(self, ask: Allocate) -> Allocated:
        return Allocated(status="granted")

    async def release(self, ask: Release) -> Released:
        return Released(released=False)

    async def inspect(self, ask: Inspect) -> Inspected:
        """Raises `NotFound` on a pool that is not declared, as it has no quota to show."""
        return Inspected(
            pool=ask.pool,
            type="noop",
            quota=self._view.settings.pool(ask.pool).quota,
            held=0,
            by_project={},
            by_project_domain={},
            holders=(),
        )


class Limited:
    """Type ``redis``: as many units as quota and caps allow, each on a lease."""

    def __init__(self, view: View, leases: Leases, declared: Pools, ceiling: int) -> None:
        """``declared`` is where admin keeps pools, ``ceiling`` the largest quota of any."""
        self._view = view
        self._leases = leases
        self._declared = declared
        self._ceiling = ceiling

    async def register(self, ask: Register) -> Registered:
        """Raises `Conflict` where the pool has another quota, and what admin's API does."""
        if ask.quota > self._ceiling:
            raise Invalid("quota", ask.quota, f"at most resourceMaxQuota, {self._ceiling}")
        if ask.pool not in self._view.settings.pools:
            with suppress(Stale):  # somebody else has just made it, and its quota is looked at
                await self._declared.put(PoolBody(name=ask.pool, quota=ask.quota))
            await self._shown(ask.pool, REGISTER_SECONDS)
        pool = self._view.settings.pools.get(ask.pool)
        if pool is None:
            raise Unavailable(f"admin has pool {ask.pool!r}, but has not published it; ask again")
        quota = pool.quota
        if quota != ask.quota:
            raise Conflict(
                f"pool {ask.pool!r} has a quota of {quota} and cannot be registered with "
                f"{ask.quota}; change the pool, or register the quota that it has"
            )
        return Registered(pool=ask.pool, quota=quota)

    async def allocate(self, ask: Allocate) -> Allocated:
        """Raises `NotFound` on an unknown pool, and `Unavailable`."""
        if ask.pool is None:
            raise Invalid("pools", len(ask.pools), "one pool")
        limits = pools.limits(await self._pool(ask.pool), ask, self._ceiling)
        outcome = await self._leases.allocate(ask, limits)
        if outcome.refused_by is not None:
            return pools.refused(ask, limits, outcome.refused_by, outcome.held, outcome.counted)
        return Allocated(status="granted", held=outcome.held, lease_seconds=ask.lease_seconds)

    async def release(self, ask: Release) -> Released:
        """Also from a pool that is no longer declared. Raises `Unavailable`."""
        return Released(released=await self._leases.release(ask))

    async def inspect(self, ask: Inspect) -> Inspected:
        """Raises `NotFound` on an unknown pool, and `Unavailable`."""
        pool = await self._pool(ask.pool)
        contents = await self._leases.inspect(ask.pool)
        return Inspected(
            pool=ask.pool,
            type="redis",
            quota=min(pool.quota, self._ceiling),
            held=contents.held,
            by_project=contents.by_project,
            by_project_domain=contents.by_project_domain,
            holders=contents.holders,
        )

    async def _pool(self, name: str) -> PoolChanged:
        if name not in self._view.settings.pools:
            await self._shown(name, NEWS_SECONDS)
        return self._view.settings.pool(name)

    async def _shown(self, name: str, patience: float) -> None:
        """Wait for a pool that may have been made this moment, no longer than this."""
        with suppress(TimeoutError, Retryable):
            async with asyncio.timeout(patience):
                while name not in self._view.settings.pools:
                    await self._view.reached(self._view.settings.revision + 1, patience)
