"""Holders and waiters of pools, which resmgr reports, and the actions of admins on one of them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from trimtab.errors import Conflict, NotFound, Unavailable
from trimtab.models import DnsLabel
from trimtab.settings.state import ANY_POOL
from trimtab.tokens.protocol import (
    COHORT,
    MAX_LISTED,
    ForceRelease,
    Holder,
    Inspect,
    Inspected,
    Locate,
    Located,
    PoolName,
    PoolPage,
    Pools,
    PoolUse,
    Recount,
    Recounted,
    Released,
    Reprioritize,
    Reprioritized,
    Waiter,
)
from trimtab.tokens.resmgr import ResmgrClient
from trimtab_admin import paging
from trimtab_admin.access.audit import AuditEntry, AuditTrail
from trimtab_admin.paging import Page
from trimtab_admin.settings.entities import POOLS
from trimtab_admin.settings.reading import Reader
from trimtab_admin.storage.outbox import Author

log = logging.getLogger(__name__)

_POSITION: TypeAdapter[tuple[str, str]] = TypeAdapter(tuple[DnsLabel, PoolName | Literal[""]])
"""The key in a cursor of `PoolUsage.list`: a cohort, and the last pool of the page before."""


class PoolUsage:
    """Sends requests about a pool to the resmgr of its cohort.

    Every method raises `NotFound` for an unknown pool, and `Unavailable`.
    """

    def __init__(
        self,
        reader: Reader,
        resmgr_client: Callable[[str], ResmgrClient],
        trail: AuditTrail,
    ) -> None:
        """``resmgr_client`` returns a cohort's client; ``trail`` records forced releases."""
        self._reader = reader
        self._resmgr_client = resmgr_client
        self._trail = trail

    async def inspect(
        self, pool: str, limit: int, holders_after: str | None, waiters_after: str | None
    ) -> Inspected:
        resmgr = await self._resmgr_of(pool)
        request = Inspect(
            pool=pool, limit=limit, holders_after=holders_after, waiters_after=waiters_after
        )
        return await resmgr.request(request, Inspected)

    async def find(
        self, pool: str, token: str, other_pools: Sequence[str]
    ) -> Holder | Waiter | None:
        """Return the entry of a token of one or several pools; ``None`` where it has none."""
        pools = _sorted(pool, other_pools)
        holders_after, waiters_after = None, None
        while True:
            page = await self.inspect(pool, MAX_LISTED, holders_after, waiters_after)
            entries: tuple[Holder | Waiter, ...] = (*page.holders, *page.waiters)
            for entry in entries:
                if entry.token == token and _sorted(pool, entry.pools) == pools:
                    return entry
            holders_after, waiters_after = page.holders_next, page.waiters_next
            if holders_after is None and waiters_after is None:
                return None

    async def list(self, cohort: str, token: str, limit: int) -> Page[PoolUse]:
        """Return pools of a cohort; an empty one stands for all, one after the other.

        Raises `NotFound` for an unknown cohort, and `Invalid` on the token.
        """
        read, after = _position(token, cohort)
        if not read:
            read = (await self._cohorts())[0]
        request = Pools(after=after or None, limit=limit)
        try:
            page = await self._resmgr_client(read).request(request, PoolPage)
        except NotFound:
            if cohort:
                raise
            page = PoolPage(type="redis", pools=())  # resmgr has not seen its first pool yet.
        if page.next is not None:
            return Page(page.pools, paging.encode((read, page.next)))
        others = () if cohort else await self._cohorts()
        following = next((each for each in others if each > read), None)
        return Page(page.pools, following and paging.encode((following, "")))

    async def check_cohort(self, pool: str, cohort: str) -> None:
        """Raise `Conflict` where a pool is in use in another cohort than it is written with.

        resmgr grants nothing in the new cohort before the old one is empty, whatever this finds; so
        a pool that is not stored may be created while resmgr does not respond.
        """
        stored = await self._stored_cohort(pool)
        if stored == cohort or pool == ANY_POOL:
            return
        try:
            found = await self._resmgr_client(COHORT).request(Locate(pool=pool), Located)
        except Unavailable:
            if stored is None:
                return
            raise
        if found.cohort not in (None, cohort) and (found.held or found.waiting):
            raise Conflict(
                f"pool {pool!r} cannot be moved to cohort {cohort!r} while it is in use in cohort "
                f"{found.cohort!r}: {found.held} held, {found.waiting} waiting; make it inactive, "
                "and move it when nothing is held"
            )

    async def recount(self, pool: str) -> Recounted:
        """Recount the units in use, and list the forced releases in the pool's cohort."""
        resmgr = await self._resmgr_of(pool)
        return await resmgr.request(Recount(pool=pool), Recounted)

    async def force_release(
        self, pool: str, token: str, other_pools: Sequence[str], author: Author, entry: AuditEntry
    ) -> Released:
        """Release a token of one or several pools, or remove a waiter from their queues.

        ``entry`` is the call as the audit trail records it.
        """
        resmgr = await self._resmgr_of(pool)
        request = ForceRelease(
            token=token, pools=_sorted(pool, other_pools), actor=author.actor, why=author.reason
        )
        released = await resmgr.request(request, Released)
        fields = {"pools": request.pools, "token": token, "actor": author.actor}
        outcome = {"held": released.released, "waited": released.withdrew, "why": author.reason}
        log.warning("token.forced", extra={**fields, **outcome, "id": author.request_id})
        if released.released or released.withdrew:
            action = "released" if released.released else "withdrew the waiting"
            await self._record(entry, f"{action} token {token}: {author.reason}")
        return released

    async def reprioritize(
        self, pool: str, token: str, other_pools: Sequence[str], priority: int, author: Author
    ) -> Reprioritized:
        """Change the priority of a waiter, and so its position in the queue."""
        resmgr = await self._resmgr_of(pool)
        request = Reprioritize(token=token, pools=_sorted(pool, other_pools), priority=priority)
        reprioritized = await resmgr.request(request, Reprioritized)
        fields = {"pools": request.pools, "token": token, "priority": priority}
        actor = {"actor": author.actor, "why": author.reason, "id": author.request_id}
        log.info("token.reprioritized", extra={**fields, **actor})
        return reprioritized

    async def _record(self, entry: AuditEntry, reason: str) -> None:
        try:
            await self._trail.add(replace(entry, reason=reason))
        except Unavailable as error:
            # The release is done and a retry would not do it again. The log and resmgr record it.
            log.error("audit.unavailable", extra={"error": str(error), "id": entry.request_id})

    async def _cohorts(self) -> Sequence[str]:
        """Return the cohorts that the settings name, and those that still count deleted pools."""
        first = await self._resmgr_client(COHORT).request(Pools(limit=1), PoolPage)
        declared = (pool.cohort for pool in await self._reader.entities(POOLS))
        return sorted({COHORT, *declared, *first.cohorts})

    async def _stored_cohort(self, pool: str) -> str | None:
        try:
            return (await self._reader.entity(POOLS, pool)).cohort
        except NotFound:
            return None

    async def _resmgr_of(self, pool: str) -> ResmgrClient:
        return self._resmgr_client((await self._reader.entity(POOLS, pool)).cohort)


def _position(token: str, cohort: str) -> tuple[str, str]:
    """Return the cohort to read, and the pool to begin after; an empty one is the first.

    Raises `Invalid`.
    """
    if not token:
        return cohort, ""
    try:
        read, after = _POSITION.validate_python(paging.decode(token))
    except ValidationError as error:
        raise paging.invalid_cursor(token) from error
    if cohort not in ("", read):
        raise paging.invalid_cursor(token)
    return read, after


def _sorted(pool: str, other_pools: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({pool, *other_pools}))
