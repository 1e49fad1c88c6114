"""The types of resource manager: ``redis`` grants within limits, ``noop`` grants everything."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from trimtab.api.entities import PoolBody
from trimtab.client.entities import Pools
from trimtab.errors import Conflict, Invalid, NotFound, Retryable, Stale, TrimtabError, Unavailable
from trimtab.messages.events import PoolChanged
from trimtab.settings.view import View
from trimtab.tokens import protocol
from trimtab.tokens.protocol import (
    Allocate,
    Allocated,
    Batched,
    ForceRelease,
    Inspect,
    Inspected,
    Locate,
    Located,
    PoolPage,
    PoolUse,
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
from trimtab_resmgr import batches, encoding, replies
from trimtab_resmgr.batches import ParsedBatch
from trimtab_resmgr.cohorts import Cohorts
from trimtab_resmgr.encoding import AllocationReply, Reply, Request
from trimtab_resmgr.limits import describe_left
from trimtab_resmgr.listing import PoolListing
from trimtab_resmgr.metrics import Metrics
from trimtab_resmgr.store import NOT_LISTED, Contents, PoolLimits

log = logging.getLogger(__name__)

UNKNOWN_POOL_SECONDS = 0.5
"""How long a request waits for an unknown pool to appear: another replica may know it already.

Much shorter than callers wait for a reply, who would repeat the request instead.
"""
REGISTER_SECONDS = 5.0
"""How long admin may take to publish a pool that it has created."""


class Manager(Protocol):
    """The operations on one cohort that every type has.

    An ``…_all`` method serves many requests at little more than the price of one. A result of
    ``None`` means that the request has to be repeated alone.
    """

    async def register(self, request: Register, cohort: str) -> Registered: ...

    async def allocate(self, request: Allocate, cohort: str) -> Allocated: ...

    async def renew(self, request: Renew, cohort: str) -> Renewed: ...

    async def reassert(self, request: Reassert, cohort: str) -> Renewed: ...

    async def release(self, request: Release, cohort: str) -> Released: ...

    async def reprioritize(self, request: Reprioritize, cohort: str) -> Reprioritized: ...

    async def force_release(self, request: ForceRelease, cohort: str) -> Released: ...

    async def inspect(self, request: Inspect, cohort: str) -> Inspected: ...

    async def pools(self, request: protocol.Pools, cohort: str) -> PoolPage: ...

    async def locate(self, request: Locate, cohort: str) -> Located: ...

    async def recount(self, request: Recount, cohort: str) -> Recounted: ...

    async def allocate_all(
        self, requests: Sequence[Allocate], cohort: str
    ) -> Sequence[Allocated | None]: ...

    async def renew_all(
        self, requests: Sequence[Renew], cohort: str
    ) -> Sequence[Renewed | None]: ...

    async def release_all(
        self, requests: Sequence[Release], cohort: str
    ) -> Sequence[Released | None]: ...


async def process_batch(manager: Manager, parsed: ParsedBatch, cohort: str) -> Batched:
    """Process each request of a batch on its own.

    Raises only `Unavailable`, after which the whole batch has to be repeated.
    """

    batch = parsed.valid

    async def allocate(request: Allocate) -> Allocated:
        try:
            return await manager.allocate(request, cohort)
        except Retryable:
            raise
        except TrimtabError as error:
            return Allocated(status="error", reason=str(error))

    replies = Batched(
        allocate=tuple(await asyncio.gather(*map(allocate, batch.allocate))),
        renew=tuple(await asyncio.gather(*(manager.renew(each, cohort) for each in batch.renew))),
        release=tuple(
            await asyncio.gather(*(manager.release(each, cohort) for each in batch.release))
        ),
    )
    return batches.merge(replies, parsed.refused)


class NoopManager:
    """Grants every request without reading pools or caps, and stores nothing."""

    def __init__(self, view: View) -> None:
        self._view = view

    async def register(self, request: Register, cohort: str) -> Registered:
        return Registered(pool=request.pool, quota=request.quota)

    async def allocate(self, request: Allocate, cohort: str) -> Allocated:
        return Allocated(status="granted")

    async def renew(self, request: Renew, cohort: str) -> Renewed:
        return Renewed(status="held", fence=request.fence)

    async def reassert(self, request: Reassert, cohort: str) -> Renewed:
        return Renewed(status="held", fence=request.fence)

    async def release(self, request: Release, cohort: str) -> Released:
        return Released(released=False, reason="type noop stores no tokens")

    async def reprioritize(self, request: Reprioritize, cohort: str) -> Reprioritized:
        return Reprioritized(waiting=False)

    async def force_release(self, request: ForceRelease, cohort: str) -> Released:
        return Released(released=False, reason="type noop stores no tokens")

    async def inspect(self, request: Inspect, cohort: str) -> Inspected:
        """Raises `NotFound` on an undeclared pool, which has no quota."""
        pool = self._view.settings.pool(request.pool)
        return Inspected(
            pool=request.pool,
            type="noop",
            quota=pool.quota,
            held=0,
            by_project={},
            by_project_domain={},
            holders=(),
            active=pool.active,
            cohort=pool.cohort,
        )

    async def pools(self, request: protocol.Pools, cohort: str) -> PoolPage:
        pools = sorted(self._view.settings.pools.values(), key=lambda pool: pool.name)
        after = [p for p in pools if p.cohort == cohort and p.name > (request.after or "")]
        page = after[: request.limit]
        return PoolPage(
            type="noop",
            pools=tuple(_unused(pool) for pool in page),
            next=page[-1].name if len(page) < len(after) else None,
        )

    async def locate(self, request: Locate, cohort: str) -> Located:
        return Located(pool=request.pool)

    async def recount(self, request: Recount, cohort: str) -> Recounted:
        return Recounted(pool=request.pool, differences=())

    async def allocate_all(self, requests: Sequence[Allocate], cohort: str) -> list[Allocated]:
        return [await self.allocate(request, cohort) for request in requests]

    async def renew_all(self, requests: Sequence[Renew], cohort: str) -> list[Renewed]:
        return [await self.renew(request, cohort) for request in requests]

    async def release_all(self, requests: Sequence[Release], cohort: str) -> list[Released]:
        return [await self.release(request, cohort) for request in requests]


class RedisManager:
    """Grants as many units as quotas and caps allow, each with a lease.

    Every method that uses Redis raises `Unavailable` where it does not answer.
    """

    def __init__(
        self, view: View, cohorts: Cohorts, pools: Pools, ceiling: int, metrics: Metrics
    ) -> None:
        """``pools`` is admin's API of pools, ``ceiling`` the largest quota of any."""
        self._view = view
        self._cohorts = cohorts
        self._pools = pools
        self._ceiling = ceiling
        self._max_lease = cohorts.rules.max_lease
        self._metrics = metrics
        self._listing = PoolListing(view, cohorts)

    async def register(self, request: Register, cohort: str) -> Registered:
        """Raises `Conflict` where the pool has another quota, and the errors of admin's API."""
        if request.quota > self._ceiling:
            raise Invalid("quota", request.quota, f"at most resourceMaxQuota, {self._ceiling}")
        if request.pool not in self._view.settings.pools:
            # Where another process has just created the pool, its quota is compared below.
            with suppress(Stale):
                body = PoolBody(name=request.pool, quota=request.quota, cohort=cohort)
                await self._pools.put(body)
            await self._wait_for([request.pool], REGISTER_SECONDS)
        pool = self._view.settings.pools.get(request.pool)
        if pool is None:
            message = f"admin has created pool {request.pool!r}, but not published it yet; retry"
            raise Unavailable(message)
        if pool.quota != request.quota:
            raise Conflict(
                f"pool {request.pool!r} has a quota of {pool.quota} and cannot be registered with "
                f"{request.quota}; change the pool, or register the quota that it has"
            )
        return Registered(pool=request.pool, quota=pool.quota)

    async def allocate(self, request: Allocate, cohort: str) -> Allocated:
        """Raises `NotFound` on an unknown pool, and `Invalid` on one of another cohort."""
        names = _pool_names(request)
        limits = await self._limits(names, cohort)
        [allocated] = await self._allocate([(request, limits)], cohort)
        blocked = {blocker.pool for blocker in allocated.blockers if blocker.limit == "inactive"}
        for name in names:
            if name in blocked and (left := self._cohorts.left(name)) is not None:
                return allocated.model_copy(update={"reason": describe_left(name, left)})
        return allocated

    async def allocate_all(
        self, requests: Sequence[Allocate], cohort: str
    ) -> Sequence[Allocated | None]:
        """Serve requests for known pools. Waiting for an unknown one would delay the others."""
        limits = [self._known_limits(_pool_names(request), cohort) for request in requests]
        pairs = zip(requests, limits, strict=True)
        known = [(request, known) for request, known in pairs if known is not None]
        replies = iter(await self._allocate(known, cohort))
        return [None if known is None else next(replies) for known in limits]

    async def renew(self, request: Renew, cohort: str) -> Renewed:
        [renewed] = await self.renew_all([request], cohort)
        return renewed

    async def renew_all(self, requests: Sequence[Renew], cohort: str) -> list[Renewed]:
        encoded = [encoding.renew(request, self._max_lease) for request in requests]
        replies = await self._submit(encoded, cohort)
        pairs = zip(requests, replies, strict=True)
        return [encoding.parse_renewed(request, self._max_lease, reply) for request, reply in pairs]

    async def reassert(self, request: Reassert, cohort: str) -> Renewed:
        if reason := await self._cohorts.check_reassert(_pool_names(request), cohort):
            return Renewed(status="lost", reason=reason)
        [reply] = await self._submit([encoding.reassert(request, self._max_lease)], cohort)
        return encoding.parse_renewed(request, self._max_lease, reply)

    async def release(self, request: Release, cohort: str) -> Released:
        """Release a token, also one of a pool that has been deleted."""
        [released] = await self.release_all([request], cohort)
        return released

    async def release_all(self, requests: Sequence[Release], cohort: str) -> list[Released]:
        replies = await self._submit([encoding.release(each) for each in requests], cohort)
        return [encoding.parse_released(reply) for reply in replies]

    async def reprioritize(self, request: Reprioritize, cohort: str) -> Reprioritized:
        [reply] = await self._submit([encoding.reprioritize(request)], cohort)
        return encoding.parse_reprioritized(reply)

    async def force_release(self, request: ForceRelease, cohort: str) -> Released:
        [reply] = await self._submit([encoding.force_release(request)], cohort)
        released = encoding.parse_released(reply)
        fields = {"token": request.token, "pools": request.all_pools}
        reason = {"actor": request.actor, "why": request.why}
        log.warning("token.forced", extra={**fields, **reason, "released": released.released})
        return released

    async def inspect(self, request: Inspect, cohort: str) -> Inspected:
        """Raises `NotFound` on an unknown pool, and `Invalid` on one of another cohort."""
        await self._limits([request.pool], cohort)
        contents = await self._contents(request, cohort)
        pool = self._view.settings.pool(request.pool)
        return Inspected(
            pool=request.pool,
            type="redis",
            quota=self._cohorts.quota(pool),
            held=contents.held,
            by_project=contents.by_project,
            by_project_domain=contents.by_project_domain,
            holders=contents.holders,
            holding=contents.holding,
            holders_next=contents.holders_next,
            waiters=contents.waiters,
            waiting=contents.waiting,
            waiters_next=contents.waiters_next,
            active=pool.active,
            cohort=pool.cohort,
            quarantine_seconds=contents.quarantine_seconds,
        )

    async def _contents(self, request: Inspect, cohort: str) -> Contents:
        """Return as many holders and waiters as requested, or as fit into a reply."""
        absent = "" if request.holders_after == request.waiters_after else NOT_LISTED
        after = request.holders_after or absent, request.waiters_after or absent
        limit = request.limit or protocol.MAX_LISTED
        while True:
            found = await self._cohorts.store(cohort).inspect(request.pool, limit, after)
            fitting = replies.fitting(limit, (*found.holders, *found.waiters))
            if fitting >= limit:
                return found
            limit = fitting

    async def pools(self, request: protocol.Pools, cohort: str) -> PoolPage:
        return await self._listing.read(request, cohort)

    async def locate(self, request: Locate, cohort: str) -> Located:
        left = await self._cohorts.locate(request.pool)
        if left is None:
            return Located(pool=request.pool)
        home, held, waiting = left
        return Located(pool=request.pool, cohort=home, held=held, waiting=waiting)

    async def recount(self, request: Recount, cohort: str) -> Recounted:
        """Recount a pool, also one that has been deleted."""
        differences, forced = await self._cohorts.store(cohort).recount(request.pool)
        return Recounted(pool=request.pool, differences=differences, forced=forced)

    async def _allocate(
        self, requests: Sequence[tuple[Allocate, tuple[PoolLimits, ...]]], cohort: str
    ) -> list[Allocated]:
        submissions = [
            (encoding.allocate(request, self._max_lease), limits) for request, limits in requests
        ]
        replies = await self._cohorts.store(cohort).submit(*submissions)
        if any(reply[0] == AllocationReply.LATE for reply in replies):
            raise Unavailable(
                "the request reached Redis too late: its token may be released; retry"
            )
        results = []
        for (request, _), reply in zip(requests, replies, strict=True):
            results.append(encoding.parse_allocated(request, self._max_lease, reply))
            self._metrics.on_reply(_pool_names(request)[0], results[-1])
        return results

    async def _submit(self, requests: Sequence[Request], cohort: str) -> Sequence[Reply]:
        return await self._cohorts.store(cohort).submit(*((request, ()) for request in requests))

    async def _limits(self, names: Sequence[str], cohort: str) -> tuple[PoolLimits, ...]:
        try:
            known = self._encoded_limits(names, cohort)
        except NotFound:
            await self._wait_for(names, UNKNOWN_POOL_SECONDS)
            known = self._encoded_limits(names, cohort)
        if known is not None:
            return known
        await self._cohorts.move(names, cohort)
        return tuple(
            self._cohorts.limits(name, cohort) or self._cohorts.closed_limits(name, cohort)
            for name in names
        )

    def _known_limits(self, names: Sequence[str], cohort: str) -> tuple[PoolLimits, ...] | None:
        try:
            return self._encoded_limits(names, cohort)
        except (NotFound, Invalid):
            return None

    def _encoded_limits(self, names: Sequence[str], cohort: str) -> tuple[PoolLimits, ...] | None:
        """Return the limits of pools; ``None`` where the home of one has to be found."""
        limits = []
        for name in names:
            known = self._cohorts.limits(name, cohort)
            if known is None:
                return None
            limits.append(known)
        return tuple(limits)

    async def _wait_for(self, names: Iterable[str], seconds: float) -> None:
        """Wait until the view has these pools, but no longer than this."""
        with suppress(TimeoutError, Retryable):
            async with asyncio.timeout(seconds):
                while any(name not in self._view.settings.pools for name in names):
                    await self._view.wait_for(self._view.settings.revision + 1, seconds)


def _pool_names(request: Allocate | Reassert) -> list[str]:
    return [request.pool] if request.pool is not None else [units.pool for units in request.units]


def _unused(pool: PoolChanged) -> PoolUse:
    return PoolUse(
        pool=pool.name,
        cohort=pool.cohort,
        declared=True,
        active=pool.active,
        declared_quota=pool.quota,
        quota=pool.quota,
        held=0,
        holding=0,
        waiting=0,
    )
