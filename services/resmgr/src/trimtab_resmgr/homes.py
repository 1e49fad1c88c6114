"""The homes of pools: in which cohort's leases each pool is counted.

The settings name the cohort in which a pool is granted. After they changed, its tokens are still
held in the cohort before. So that its quota is not granted twice, the new cohort grants nothing
until the pool's home, which Redis stores, has closed the pool and holds none of it.
`lua/homes.lua` has the rules.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from trimtab_resmgr.encoding import Version
from trimtab_resmgr.limits import Left
from trimtab_resmgr.scripts import Client, Script, answer_of
from trimtab_resmgr.store import Count

KEY = "trimtab:homes"
MAX_PLACES = 500
"""Pools in one call."""

_HOMES = Script("homes")
_OWN, _OTHER = 0, 1


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

    async def move(self, places: Sequence[Place]) -> dict[str, Left | None]:
        """Move pools as far as possible now.

        Returns what keeps each in its home; ``None`` for one whose home is where it should be.
        """
        left: dict[str, Left | None] = {}
        for first in range(0, len(places), MAX_PLACES):
            sent = places[first : first + MAX_PLACES]
            for place, (status, entry) in zip(sent, await self._send(sent), strict=True):
                is_own = status == _OWN
                left[place.pool] = None if is_own else await self._move(place, status, entry)
        return left

    async def find(self, pool: str) -> str | None:
        """Return the home of a pool; ``None`` where nothing was granted of it yet."""
        entry = await answer_of(self._redis.hget(KEY, pool))
        return None if entry is None else str(json.loads(entry)[0])

    async def claim(self, pool: str, cohort: str) -> bool:
        """Make a cohort the home of a pool that has none. Return whether it is the home now."""
        [(status, _)] = await self._send([Place(pool, cohort, Version(0, 0))])
        return bool(status == _OWN)

    async def cohorts(self) -> set[str]:
        """Return the cohorts that are homes."""
        entries = await answer_of(self._redis.hvals(KEY))
        return {str(json.loads(entry)[0]) for entry in entries}

    async def _move(self, place: Place, status: int, entry: bytes) -> Left | None:
        home = str(json.loads(entry)[0])
        if status != _OTHER:  # Our settings are late; the home is newer.
            return Left(home, 0, 0)
        count = await self._close(home, place.pool, place.version)
        if count.is_final and not count.held:
            [(status, _)] = await self._send([place], entry.decode())
            if status == _OWN:
                return None
        return Left(home, count.held, count.waiting)

    async def _send(self, places: Sequence[Place], moved: str = "") -> Sequence[Any]:
        """Return the homes of pools, and make the cohort of one the home where it ``moved``."""
        sent = [
            [place.pool, place.cohort, *place.version, place.entry(), moved or False]
            for place in places
        ]
        found: Sequence[Any] = await _HOMES.run(self._redis, KEY, json.dumps(sent))
        return found
