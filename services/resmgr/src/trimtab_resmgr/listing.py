"""The use of all pools of a cohort, in pages."""

import time
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from trimtab.errors import NotFound, Unavailable, Unreadable
from trimtab.messages.events import PoolChanged
from trimtab.settings.view import View
from trimtab.tokens.protocol import PoolPage, Pools, PoolUse
from trimtab_resmgr.cohorts import Cohorts
from trimtab_resmgr.limits import PoolState, Source, blocked

MAX_READ = 100
"""Pools in one call of Redis: some milliseconds in which it serves no other."""
MAX_CALLS = 20
"""Calls of Redis for one page, however many pools there are that are not used."""
NAMES_SECONDS = 5.0
"""How long the names of all pools that one page has read serve those behind it. Without them, each
page would read the names of all pools again."""


class _Names(NamedTuple):
    sorted: Sequence[str]
    read_at: float


class PoolListing:
    """Lists the pools that the settings have in a cohort, and all others that it still counts."""

    def __init__(self, view: View, cohorts: Cohorts) -> None:
        self._view = view
        self._cohorts = cohorts
        self._known: dict[str, _Names] = {}
        """The names of the pools that may be listed, by cohort."""

    async def read(self, request: Pools, cohort: str) -> PoolPage:
        """Return a page of the pools of a cohort. Raises `Unavailable`."""
        names = await self._names(request.after or "", cohort)
        found: list[PoolUse] = []
        seen, quarantine = 0, 0.0
        for _ in range(MAX_CALLS):
            quarantine, used = await self._read(names[seen : seen + MAX_READ], cohort)
            found += used
            seen = min(seen + MAX_READ, len(names))
            if len(found) >= request.limit or seen == len(names):
                break
        pools = tuple(found[: request.limit])
        last = pools[-1].pool if len(found) > request.limit else names[seen - 1] if seen else ""
        has_next = bool(names) and last != names[-1]
        if not has_next:
            self._known.pop(cohort, None)
        return PoolPage(
            type="redis",
            pools=pools,
            next=last if has_next else None,
            quarantine_seconds=quarantine,
            cohorts=() if request.after else tuple(sorted(self._cohorts.used)),
        )

    async def _names(self, after: str, cohort: str) -> Sequence[str]:
        """Return the next names, at least one more than a page reads where there are so many."""
        known = self._known.get(cohort)
        if not after or known is None or time.monotonic() - known.read_at > NAMES_SECONDS:
            known = self._known[cohort] = await self._read_names(cohort)
        first = bisect_right(known.sorted, after)
        return known.sorted[first : first + MAX_READ * MAX_CALLS + 1]

    async def _read_names(self, cohort: str) -> _Names:
        declared = (pool.name for pool in self._view.settings.pools.values())
        known = await self._cohorts.store(cohort).known_pools()
        names = {name for name in declared if self._is_declared(name, cohort)} | known
        return _Names(sorted(names), time.monotonic())

    async def _read(self, names: Sequence[str], cohort: str) -> tuple[float, list[PoolUse]]:
        declared = {name for name in names if self._is_declared(name, cohort)}
        with suppress(Unavailable):  # What can be read is listed also while no pool can move.
            await self._cohorts.move(sorted(declared), cohort)
        quarantine, states = await self._cohorts.store(cohort).pools(names)
        used = [
            self._use(name, state, cohort, quarantined=quarantine > 0)
            for name, state in states.items()
            if name in declared or state.holding or state.waiting
        ]
        return quarantine, used

    def _use(self, name: str, state: PoolState, cohort: str, *, quarantined: bool) -> PoolUse:
        pool = self._find_pool(name)
        above = Source("quarantine", name, "") if quarantined else self._closed(name, pool, cohort)
        limits = pool if pool is not None and pool.cohort == cohort else None
        return PoolUse(
            pool=name,
            cohort=cohort,
            declared=self._is_declared(name, cohort),
            active=limits is not None and limits.active,
            declared_quota=None if limits is None else limits.quota,
            quota=None if limits is None else self._cohorts.quota(limits),
            held=state.held,
            holding=state.holding,
            waiting=state.waiting,
            blocked=blocked(name, state, above),
        )

    def _closed(self, name: str, pool: PoolChanged | None, cohort: str) -> Source | None:
        """Return why nothing of a pool is granted in this cohort, whatever is requested."""
        if pool is None:
            return Source("unknown", name, "")
        if pool.cohort != cohort:
            return Source("moved", name, pool.cohort)
        if (left := self._cohorts.left(name)) is not None:
            return Source("moved", name, left.home)
        return None if pool.active else Source("inactive", name, "")

    def _find_pool(self, name: str) -> PoolChanged | None:
        try:
            return self._view.settings.pool(name)
        except (NotFound, Unreadable):
            return None

    def _is_declared(self, name: str, cohort: str) -> bool:
        pool = self._view.settings.pools.get(name)
        return pool is not None and pool.cohort == cohort
