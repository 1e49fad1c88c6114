"""The homes of pools: in which cohort's leases each pool is counted.

The settings name the cohort in which a pool is granted. After they changed, its tokens are still
held in the cohort before. So that its quota is not granted twice, the new cohort grants nothing
until the pool's home, which Redis stores, has closed the pool and holds none of it.
`lua/homes.lua` has the rules.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from trimtab.errors import Unavailable
from trimtab_resmgr.encoding import Version
from trimtab_resmgr.limits import Left
from trimtab_resmgr.scripts import Client, Script, answer_of
from trimtab_resmgr.store import Count

KEY = "trimtab:homes"
MAX_PLACES = 500
"""Pools in one call."""

_HOMES = Script("homes")
_OWN, _OTHER = 0, 1

Moved = Left | Unavailable | None
"""The use that keeps a pool in its home; ``None`` for a pool whose home is where it should be."""


class Place(NamedTuple):
    """A pool in a cohort, as a version of the settings has it."""

    pool: str
    cohort: str
    version: Version

    def entry(self) -> str:
        return json.dumps([self.cohort, *self.version])


class Homes:
    """Moves pools to the cohorts in which the settings have them."""

    def __init__(
        self, redis: Client, close: Callable[[str, str, Version], Awaitable[Count]]
    ) -> None:
        """``close`` is called with a cohort, a pool and the version of the settings to close it."""
        self._redis = redis
        self._close = close

    async def move(self, places: Sequence[Place]) -> dict[str, Moved]:
        """Move pools as far as possible now, with few calls however many pools there are.

        Returns what keeps each in its home; `Unavailable` where the home does not answer.
        """
        moved: dict[str, Moved] = {}
        for first in range(0, len(places), MAX_PLACES):
            moved |= await self._move(places[first : first + MAX_PLACES])
        return moved

    async def find(self, pool: str) -> str | None:
        """Return the home of a pool; ``None`` where nothing was granted of it yet."""
        entry = await answer_of(self._redis.hget(KEY, pool))
        return None if entry is None else _cohort_of(entry)

    async def claim(self, pool: str, cohort: str) -> bool:
        """Make a cohort the home of a pool that has none. Return whether it is the home now."""
        [(status, _)] = await self._send([Place(pool, cohort, Version(0, 0))])
        return bool(status == _OWN)

    async def cohorts(self) -> set[str]:
        """Return the cohorts that are homes."""
        entries = await answer_of(self._redis.hvals(KEY))
        return {_cohort_of(entry) for entry in entries}

    async def _move(self, places: Sequence[Place]) -> dict[str, Moved]:
        moved: dict[str, Moved] = {}
        elsewhere: dict[Place, str] = {}
        for place, (status, entry) in zip(places, await self._send(places), strict=True):
            if status == _OTHER:
                elsewhere[place] = entry.decode()
            else:  # Where our settings are late, the home is newer.
                moved[place.pool] = None if status == _OWN else Left(_cohort_of(entry), 0, 0)
        counts = await asyncio.gather(*(self._count(*each) for each in elsewhere.items()))
        empty: dict[Place, str] = {}
        for (place, entry), count in zip(elsewhere.items(), counts, strict=True):
            if isinstance(count, Unavailable):
                moved[place.pool] = count
                continue
            moved[place.pool] = Left(_cohort_of(entry), count.held, count.waiting)
            if count.is_final and not count.held:
                empty[place] = entry
        return moved | await self._leave(empty)

    async def _count(self, place: Place, entry: str) -> Count | Unavailable:
        """Close a pool in the home of this entry."""
        try:
            return await self._close(_cohort_of(entry), place.pool, place.version)
        except Unavailable as error:
            return error

    async def _leave(self, empty: Mapping[Place, str]) -> dict[str, Moved]:
        """Return those of the pools that have left their homes, which were found empty."""
        replies = await self._send(list(empty), empty) if empty else ()
        found = zip(empty, replies, strict=True)
        return {place.pool: None for place, (status, _) in found if status == _OWN}

    async def _send(
        self, places: Sequence[Place], empty: Mapping[Place, str] | None = None
    ) -> Sequence[Any]:
        """Return the homes of pools. Those that were found ``empty`` are left for the places."""
        sent = [
            [
                place.pool,
                place.cohort,
                *place.version,
                place.entry(),
                (empty or {}).get(place, False),
            ]
            for place in places
        ]
        found: Sequence[Any] = await _HOMES.run(self._redis, KEY, json.dumps(sent))
        return found


def _cohort_of(entry: str | bytes) -> str:
    return str(json.loads(entry)[0])
