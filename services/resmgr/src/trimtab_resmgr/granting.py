"""The two types of resmgr: ``redis`` counts and limits, ``noop`` says yes."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from trimtab.api.entities import PoolBody
from trimtab.client.entities import Pools
from trimtab.errors import Conflict, Invalid, NotFound, Retryable, Stale, TrimtabError, Unavailable
from trimtab.settings.view import View
from trimtab.tokens.protocol import (
    Allocate,
    Allocated,
    Batch,
    Batched,
    ForceRelease,
    Inspect,
    Inspected,
    Reassert,
    Recount,
    Recounted,
    Register,
    Registered,
    Release,
    Released,
    Renew,
    Renewed,
    Reprioritize,
    Reprioritized,
)
from trimtab_resmgr import asking
from trimtab_resmgr.asking import Answer, Request
from trimtab_resmgr.cohorts import Cohorts
from trimtab_resmgr.leases import Limits
from trimtab_resmgr.metrics import Metrics

log = logging.getLogger(__name__)

NEWS_SECONDS = 0.5
"""How long an unknown pool is given to show itself: another replica may have seen it first."""
REGISTER_SECONDS = 5.0
"""How long admin may take to publish a pool that it has created."""


class Granting(Protocol):
    """What every type of resmgr answers, to whoever asks a cohort.

    What comes in numbers can be asked together, for the price of little more than one. ``None``
    then is the answer to one that has to be asked alone.
    """

    async def register(self, ask: Register, cohort: str) -> Registered: ...

    async def allocate(self, ask: Allocate, cohort: str) -> Allocated: ...

    async def renew(self, ask: Renew, cohort: str) -> Renewed: ...

    async def reassert(self, ask: Reassert, cohort: str) -> Renewed: ...

    async def release(self, ask: Release, cohort: str) -> Released: ...

    async def reprioritize(self, ask: Reprioritize, cohort: str) -> Reprioritized: ...

    async def force_release(self, ask: ForceRelease, cohort: str) -> Released: ...

    async def inspect(self, ask: Inspect, cohort: str) -> Inspected: ...

    async def recount(self, ask: Recount, cohort: str) -> Recounted: ...

    async def allocate_all(
        self, asks: Sequence[Allocate], cohort: str
    ) -> Sequence[Allocated | None]: ...

    async def renew_all(self, asks: Sequence[Renew], cohort: str) -> Sequence[Renewed | None]: ...

    async def release_all(
        self, asks: Sequence[Release], cohort: str
    ) -> Sequence[Released | None]: ...


async def batch(granting: Granting, ask: Batch, cohort: str) -> Batched:
    """Each as if it had come alone. Raises only `Unavailable`, as then all should come again."""

    async def allocate(one: Allocate) -> Allocated:
        try:
            return await granting.allocate(one, cohort)
        except Retryable:
            raise
        except TrimtabError as error:
            return Allocated(status="error", reason=str(error))

    return Batched(
        allocate=tuple(await asyncio.gather(*map(allocate, ask.allocate))),
        renew=tuple(await asyncio.gather(*(granting.renew(one, cohort) for one in ask.renew))),
        release=tuple(
            await asyncio.gather(*(granting.release(one, cohort) for one in ask.release))
        ),
    )


class Always:
    """Type ``noop``: grants without looking at pools or caps, and keeps nothing."""

    def __init__(self, view: View) -> None:
        self._view = view

    async def register(self, ask: Register, cohort: str) -> Registered:
        return Registered(pool=ask.pool, quota=ask.quota)

    async def allocate(self, ask: Allocate, cohort: str) -> Allocated:
        return Allocated(status="granted")

    async def renew(self, ask: Renew, cohort: str) -> Renewed:
        return Renewed(status="held", fence=ask.fence)

    async def reassert(self, ask: Reassert, cohort: str) -> Renewed:
        return Renewed(status="held", fence=ask.fence)

    async def release(self, ask: Release, cohort: str) -> Released:
        return Released(released=False, reason="type noop keeps nothing")

    async def reprioritize(self, ask: Reprioritize, cohort: str) -> Reprioritized:
        return Reprioritized(waiting=False)

    async def force_release(self, ask: ForceRelease, cohort: str) -> Released:
        return Released(released=False, reason="type noop keeps nothing")

    async def inspect(self, ask: Inspect, cohort: str) -> Inspected:
        """Raises `NotFound` on a pool that is not declared, as it has no quota to show."""
        pool = self._view.settings.pool(ask.pool)
        return Inspected(
            pool=ask.pool,
            type="noop",
            quota=pool.quota,
            held=0,
            by_project={},
            by_project_domain={},
            holders=(),
            active=pool.active,
            cohort=pool.cohort,
        )

    async def recount(self, ask: Recount, cohort: str) -> Recounted:
        return Recounted(pool=ask.pool, differences=())

    async def allocate_all(self, asks: Sequence[Allocate], cohort: str) -> list[Allocated]:
        return [await self.allocate(ask, cohort) for ask in asks]

    async def renew_all(self, asks: Sequence[Renew], cohort: str) -> list[Renewed]:
        return [await self.renew(ask, cohort) for ask in asks]

    async def release_all(self, asks: Sequence[Release], cohort: str) -> list[Released]:
        return [await self.release(ask, cohort) for ask in asks]


class Limited:
    """Type ``redis``: as many units as quota and caps allow, each on a lease.

    Whatever asks Redis raises `Unavailable` where it is away.
    """

    def __init__(
        self, view: View, cohorts: Cohorts, declared: Pools, ceiling: int, metrics: Metrics
    ) -> None:
        """``declared`` is where admin keeps pools, ``ceiling`` the largest quota of any."""
        self._view = view
        self._cohorts = cohorts
        self._declared = declared
        self._ceiling = ceiling
        self._longest = cohorts.rules.lease
        self._metrics = metrics

    async def register(self, ask: Register, cohort: str) -> Registered:
        """Raises `Conflict` where the pool has another quota, and what admin's API does."""
        if ask.quota > self._ceiling:
            raise Invalid("quota", ask.quota, f"at most resourceMaxQuota, {self._ceiling}")
        if ask.pool not in self._view.settings.pools:
            with suppress(Stale):  # somebody else has just made it, and its quota is looked at
                await self._declared.put(PoolBody(name=ask.pool, quota=ask.quota, cohort=cohort))
            await self._shown([ask.pool], REGISTER_SECONDS)
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

    async def allocate(self, ask: Allocate, cohort: str) -> Allocated:
        """Raises `NotFound` on an unknown pool, and `Invalid` on one of another cohort."""
        limits = await self._limits(_names(ask), cohort)
        [allocated] = await self._allocated([(ask, limits)], cohort)
        return allocated

    async def allocate_all(
        self, asks: Sequence[Allocate], cohort: str
    ) -> Sequence[Allocated | None]:
        """Of known pools. Others are waited for, which should hold up nobody else."""
        limits = [self._known(_names(ask), cohort) for ask in asks]
        pairs = zip(asks, limits, strict=True)
        known = [(ask, known) for ask, known in pairs if known is not None]
        answers = iter(await self._allocated(known, cohort))
        return [None if known is None else next(answers) for known in limits]

    async def renew(self, ask: Renew, cohort: str) -> Renewed:
        [renewed] = await self.renew_all([ask], cohort)
        return renewed

    async def renew_all(self, asks: Sequence[Renew], cohort: str) -> list[Renewed]:
        requests = [asking.renew(ask, self._longest) for ask in asks]
        answers = await self._asked(requests, cohort)
        pairs = zip(asks, answers, strict=True)
        return [asking.renewed(ask, self._longest, answer) for ask, answer in pairs]

    async def reassert(self, ask: Reassert, cohort: str) -> Renewed:
        [answer] = await self._asked([asking.reassert(ask, self._longest)], cohort)
        return asking.renewed(ask, self._longest, answer)

    async def release(self, ask: Release, cohort: str) -> Released:
        """Also from a pool that is no longer declared."""
        [released] = await self.release_all([ask], cohort)
        return released

    async def release_all(self, asks: Sequence[Release], cohort: str) -> list[Released]:
        answers = await self._asked([asking.release(ask) for ask in asks], cohort)
        return [asking.released(answer) for answer in answers]

    async def reprioritize(self, ask: Reprioritize, cohort: str) -> Reprioritized:
        [answer] = await self._asked([asking.reprioritize(ask)], cohort)
        return asking.reprioritized(answer)

    async def force_release(self, ask: ForceRelease, cohort: str) -> Released:
        [answer] = await self._asked([asking.force(ask)], cohort)
        released = asking.released(answer)
        fields = {"token": ask.token, "pools": ask.all_pools, "actor": ask.actor, "why": ask.why}
        log.warning("token.forced", extra={**fields, "released": released.released})
        return released

    async def inspect(self, ask: Inspect, cohort: str) -> Inspected:
        """Raises `NotFound` on an unknown pool, and `Invalid` on one of another cohort."""
        await self._limits([ask.pool], cohort)
        pool = self._view.settings.pool(ask.pool)
        contents = await self._cohorts.leases(cohort).inspect(ask.pool)
        return Inspected(
            pool=ask.pool,
            type="redis",
            quota=self._cohorts.quota(pool),
            held=contents.held,
            by_project=contents.by_project,
            by_project_domain=contents.by_project_domain,
            holders=contents.holders,
            waiters=contents.waiters,
            waiting=contents.waiting,
            active=pool.active,
            cohort=pool.cohort,
            quarantine_seconds=contents.quarantine_seconds,
        )

    async def recount(self, ask: Recount, cohort: str) -> Recounted:
        """Also of a pool that is no longer declared."""
        differences, forced = await self._cohorts.leases(cohort).audit(ask.pool)
        return Recounted(pool=ask.pool, differences=differences, forced=forced)

    async def _allocated(
        self, asks: Sequence[tuple[Allocate, tuple[Limits, ...]]], cohort: str
    ) -> list[Allocated]:
        requests = [(asking.allocate(ask, self._longest), limits) for ask, limits in asks]
        answers = await self._cohorts.leases(cohort).ask(*requests)
        found = []
        for (ask, _), answer in zip(asks, answers, strict=True):
            found.append(asking.allocated(ask, self._longest, answer))
            self._metrics.answered(_names(ask)[0], found[-1])
        return found

    async def _asked(self, requests: Sequence[Request], cohort: str) -> Sequence[Answer]:
        return await self._cohorts.leases(cohort).ask(*((request, ()) for request in requests))

    async def _limits(self, names: Sequence[str], cohort: str) -> tuple[Limits, ...]:
        try:
            return self._written(names, cohort)
        except NotFound:
            await self._shown(names, NEWS_SECONDS)
        return self._written(names, cohort)

    def _known(self, names: Sequence[str], cohort: str) -> tuple[Limits, ...] | None:
        try:
            return self._written(names, cohort)
        except (NotFound, Invalid):
            return None

    def _written(self, names: Sequence[str], cohort: str) -> tuple[Limits, ...]:
        return tuple([self._cohorts.limits(name, cohort) for name in names])

    async def _shown(self, names: Iterable[str], patience: float) -> None:
        """Wait for pools that may have been made this moment, no longer than this."""
        with suppress(TimeoutError, Retryable):
            async with asyncio.timeout(patience):
                while any(name not in self._view.settings.pools for name in names):
                    await self._view.wait_for(self._view.settings.revision + 1, patience)


def _names(ask: Allocate) -> list[str]:
    return [ask.pool] if ask.pool is not None else [units.pool for units in ask.units]
