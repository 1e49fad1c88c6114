"""The stores of all cohorts, and their background work.

Sweeps expire leases and declare changed limits; hints go to waiters that were granted and to
holders that lost a token. Several replicas may do all of it at the same time, and one that dies may
leave any of it undone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

import nats.errors
from nats.aio.client import Client as Nats

from trimtab.errors import Invalid, Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import PoolChanged
from trimtab.runtime.tasks import keep_running
from trimtab.settings.state import ANY_POOL, Settings
from trimtab.settings.view import View
from trimtab.tokens.protocol import COHORT, TokenGranted, TokenLost
from trimtab_resmgr import encoding
from trimtab_resmgr.arrivals import Arrivals
from trimtab_resmgr.encoding import Version
from trimtab_resmgr.homes import Homes, Moved, Place
from trimtab_resmgr.limits import Left
from trimtab_resmgr.scripts import FAILURES, Batches, Client
from trimtab_resmgr.store import CohortStore, Count, Effects, PoolLimits, Rules

log = logging.getLogger(__name__)

_Move = tuple[str, str]
"""A pool, and the cohort that should be its home."""

SWEEP_SECONDS = 0.2
"""The time between two sweeps: how long units of an ended lease may be idle despite waiters."""
MAX_HOMES = 10_000
"""Undeclared pools whose homes are remembered."""
PING_SECONDS = 1.0
"""The time between two checks of Redis for readiness."""


class Cohorts:
    """The stores of cohorts by name. `run` has to run for as long as they are used."""

    def __init__(
        self,
        nats: Nats,
        redis: Client,
        view: View,
        tasks: asyncio.TaskGroup,
        rules: Rules,
        ceiling: int,
        on_effects: Callable[[Effects], None],
    ) -> None:
        """``ceiling`` is the largest quota of any pool."""
        self.unready_reason = "Redis has not answered yet"
        """Why nothing can be granted; empty where it can. `run` updates it."""
        self.rules = rules
        self._nats = nats
        self._redis = redis
        self._view = view
        self._tasks = tasks
        self._ceiling = ceiling
        self._on_effects = on_effects
        self._arrivals = Arrivals(nats)
        self._stores: dict[str, CohortStore] = {}
        self._homes = Homes(redis, self._close)
        self._limits: dict[str, PoolLimits] = {}
        self._at_home: dict[str, str] = {}
        """Pools of which units may be granted, and the cohorts that are their homes."""
        self._left: dict[str, Left] = {}
        """Pools that are not granted yet, because they are held in another cohort."""
        self._moves = Batches[_Move, bool](tasks, self._move_all)
        self._changes = 0
        """The changes so far; what was found out during a change is not used."""
        self._generation = 0
        self._found_homes = False
        self._changed: set[str] = set()
        self._deleted: dict[str, PoolLimits] = {}
        """The limits of deleted pools that have to be declared, by cohort and name."""

    def store(self, cohort: str) -> CohortStore:
        """Return the store of a cohort, which need not have a pool."""
        if cohort not in self._stores:
            self._stores[cohort] = CohortStore(
                self._redis,
                self._tasks,
                cohort,
                self.rules,
                lambda effects: self._process(cohort, effects),
                lambda: self._arrivals.since,
            )
        return self._stores[cohort]

    def quota(self, pool: PoolChanged) -> int:
        """Return the quota of a pool, which the ceiling limits."""
        return min(pool.quota, self._ceiling)

    def limits(self, name: str, cohort: str) -> PoolLimits | None:
        """Return the limits of a pool as the scripts read them, encoded once for each change.

        ``None`` is for a pool whose home has to be found first, with `move`.
        Raises `NotFound`, and `Invalid` on a pool of another cohort.
        """
        known = self._limits.get(f"{cohort} {name}")
        return known if known is not None else self._encode_limits(name, cohort)

    async def move(self, names: Sequence[str], cohort: str) -> set[str]:
        """Make a cohort the home of pools where the one before holds nothing of them any more.

        Return the pools whose home it is. All callers of one tick share the calls of Redis.
        """
        replies = await self._moves.submit(*((name, cohort) for name in names))
        return {name for name, is_home in zip(names, replies, strict=True) if is_home}

    async def _move_all(self, moves: Sequence[_Move]) -> Sequence[bool | Unavailable]:
        names: dict[str, dict[str, None]] = {}
        for name, cohort in moves:
            names.setdefault(cohort, {})[name] = None
        found: dict[_Move, bool | Unavailable] = {}
        for cohort, of_cohort in names.items():
            moved = await self._move(list(of_cohort), cohort)
            found |= {(name, cohort): is_home for name, is_home in moved.items()}
        return [found[move] for move in moves]

    async def _move(self, names: Sequence[str], cohort: str) -> dict[str, bool | Unavailable]:
        moved: dict[str, bool | Unavailable]
        moved = {name: self._at_home.get(name) == cohort for name in names}
        changes, found = -1, dict[str, Moved]()
        while changes != self._changes:
            changes = self._changes
            found = await self._homes.move(self._places(names, cohort))
        self._forget_if_many()
        for name, left in found.items():
            if self._at_home.get(name) == cohort:
                left = None  # A search that began later has ended before this one.
            if left is None:
                self._at_home[name] = cohort
                self._left.pop(name, None)
            elif isinstance(left, Left):
                self._left[name] = left
                self._changed.add(name)
            moved[name] = left if isinstance(left, Unavailable) else left is None
        return moved

    async def check_reassert(self, names: Sequence[str], cohort: str) -> str:
        """Return why tokens of pools cannot be reasserted in a cohort, or an empty text.

        Raises `Unavailable` where that is not known yet.
        """
        # Not what is remembered by now: in a quarantine, each reply of Redis clears that.
        at_home = await self.move(names, cohort)
        for name in names:
            if name in at_home:
                continue
            if self._places([name], cohort):
                raise Unavailable(f"pool {name!r} is not counted in cohort {cohort!r} yet")
            if not await self._homes.claim(name, cohort):
                return f"pool {name!r} is counted in another cohort than {cohort!r}"
        return ""

    def left(self, name: str) -> Left | None:
        """Return what keeps a pool in another cohort, if anything does."""
        return self._left.get(name)

    def closed_limits(self, name: str, cohort: str) -> PoolLimits:
        """Return limits with which nothing is granted. Raises what `limits` raises."""
        closed = self._pool(name, cohort).model_copy(update={"active": False})
        return name, encoding.pool_limits(closed, self._version(name), self._ceiling)

    async def locate(self, name: str) -> Left | None:
        """Return the home of a pool and what it holds, without changing anything."""
        home = await self._homes.find(name)
        if home is None:
            return None
        contents = await self.store(home).inspect(name)
        return Left(home, contents.held, contents.waiting)

    def on_reload(self, generation: int) -> None:
        """Declare all pools in the next sweep.

        ``generation`` is when the stream of the settings was created: revisions count from there.
        """
        self._generation = generation
        self._at_home.clear()
        self.on_change(self._view.settings.pools)

    def on_change(self, names: Iterable[str]) -> None:
        """Declare new limits of pools in the next sweep, which may grant their waiters."""
        self._changes += 1
        for name in names:
            self._changed.add(name)
            self._at_home.pop(name, None)
        if ANY_POOL in self._changed:
            self._at_home.clear()
        self._limits.clear()

    def on_delete(self, pool: PoolChanged, revision: int) -> None:
        """Stop granting a pool, also to its waiters. Held tokens stay held."""
        closed = pool.model_copy(update={"active": False})
        version = Version(self._generation, revision)
        text = encoding.pool_limits(closed, version, self._ceiling)
        self._deleted[f"{pool.cohort} {pool.name}"] = (pool.name, text)
        self.on_change([pool.name])

    @property
    def used(self) -> Collection[str]:
        """The cohorts that have been requested, including those whose pools were deleted since."""
        return self._stores.keys()

    def _encode_limits(self, name: str, cohort: str) -> PoolLimits | None:
        pool = self._pool(name, cohort)
        if self._at_home.get(name) != cohort:
            return None
        text = encoding.pool_limits(pool, self._version(name), self._ceiling)
        if name in self._view.settings.pools:  # Another may be requested once and never again.
            self._limits[f"{cohort} {name}"] = (name, text)
        return name, text

    def _pool(self, name: str, cohort: str) -> PoolChanged:
        pool = self._view.settings.pool(name)
        if pool.cohort != cohort:
            allowed = f"one of cohort {cohort!r}; this one is of {pool.cohort!r}"
            raise Invalid("pool", name, allowed)
        return pool

    def _version(self, name: str) -> Version:
        # An undeclared pool has the limits of the default pool. The current revision lets them
        # replace the stored ones of a deleted pool with this name.
        settings = self._view.settings
        declared = None
        if name in settings.pools:  # Not every name that may be requested fits into a subject.
            declared = settings.digest.revision_of(subjects.pool(name))
        return Version(self._generation, declared or settings.revision)

    def _places(self, names: Iterable[str], cohort: str) -> list[Place]:
        """Return the places of the pools that the settings have in this cohort, unless known."""
        places = []
        for name in names:
            pool = _find_pool(self._view.settings, name)
            if pool is not None and pool.cohort == cohort and self._at_home.get(name) != cohort:
                places.append(Place(name, cohort, self._version(name)))
        return places

    async def _close(self, home: str, name: str, version: Version) -> Count:
        # The limits are those of no pool: it is not granted there any more.
        closed = PoolChanged(name=name, cohort=home, active=False)
        text = encoding.pool_limits(closed, version, self._ceiling)
        return await self.store(home).count((name, text), version)

    def _forget_if_many(self) -> None:
        if len(self._at_home) > MAX_HOMES + len(self._view.settings.pools):
            self._at_home.clear()

    async def run(self) -> None:
        """Sweep, check Redis, and keep up with the age of requests, until cancelled.

        A defect in one of them ends neither it nor the others.
        """
        await asyncio.gather(
            keep_running(self._check_forever, "cohorts.redis_not_checked"),
            keep_running(self._sweep_forever, "cohorts.not_swept"),
            keep_running(self._arrivals.follow_forever, "cohorts.arrivals_not_followed"),
        )

    async def refresh_usage(self) -> None:
        """Call the scripts for every declared pool, so that `Effects` report the usage of each."""
        await self._sweep(self._view.settings.pools)

    async def _check_forever(self) -> None:
        """Check periodically whether Redis answers."""
        while True:
            try:
                await self._redis.ping()
            except FAILURES as error:
                if not self.unready_reason:
                    log.warning("redis.unavailable", extra={"error": str(error)})
                self.unready_reason = f"Redis does not answer: {error}"
            else:
                if self.unready_reason:
                    log.info("redis.available")
                self.unready_reason = ""
            await asyncio.sleep(PING_SECONDS)

    async def _sweep_forever(self) -> None:
        """Sweep every cohort periodically."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self._sweep_changed()
            except Unavailable as error:
                log.debug("cohorts.not_swept", extra={"error": str(error)})

    async def _sweep_changed(self) -> None:
        changed, self._changed = self._changed, set()
        is_swept = False
        try:
            await self._sweep(changed)
            is_swept = True
        finally:
            if not is_swept:
                self._changed |= changed

    async def _sweep(self, changed: Iterable[str]) -> None:
        """Sweep all cohorts. One that fails does not stop the others; its failure is raised."""
        failures: list[Exception] = []
        await _collect(self._find_homes(), failures)
        names = self._by_cohort(changed)
        for cohort, of_cohort in list(names.items()):
            # Without free memory too, in which sweeps release some.
            if not await _collect(self.move(of_cohort, cohort), failures):
                del names[cohort]
        deleted = dict(self._deleted)
        for cohort, limits in self._limits_to_declare(names, deleted).items():
            await _collect(self._sweep_cohort(cohort, limits), failures)
        if failures:
            raise next((each for each in failures if not _is_outage(each)), failures[0])
        for key in deleted:
            self._deleted.pop(key, None)

    def _by_cohort(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Return those of the pools that are declared."""
        found: dict[str, list[str]] = {}
        for name in names:
            if (pool := self._view.settings.pools.get(name)) is not None:
                found.setdefault(pool.cohort, []).append(name)
        return found

    def _limits_to_declare(
        self, names: Mapping[str, Iterable[str]], deleted: Mapping[str, PoolLimits]
    ) -> dict[str, list[PoolLimits]]:
        """Return the limits of these pools, with every cohort that is used."""
        pools = self._view.settings.pools
        used = (COHORT, *self._stores, *(pool.cohort for pool in pools.values()))
        declared: dict[str, list[PoolLimits]] = {cohort: [] for cohort in used}
        for cohort, of_cohort in names.items():
            for name in of_cohort:
                # The settings may have changed meanwhile; then the next sweep declares the rest.
                if name in pools and pools[name].cohort == cohort:
                    limits = self.limits(name, cohort) or self.closed_limits(name, cohort)
                    declared[cohort].append(limits)
        for key, limits in deleted.items():
            declared.setdefault(key.partition(" ")[0], []).append(limits)
        return declared

    async def _sweep_cohort(self, cohort: str, limits: Sequence[PoolLimits]) -> None:
        await self.store(cohort).declare(limits)
        await self.store(cohort).sweep()

    async def _find_homes(self) -> None:
        """Use the cohorts that hold tokens, also where no pool of the settings is in them."""
        if not self._found_homes:
            for cohort in await self._homes.cohorts():
                self.store(cohort)
            self._found_homes = True

    def _process(self, cohort: str, effects: Effects) -> None:
        self._on_effects(effects)
        if effects.quarantined:  # The homes may be lost too.
            self._at_home.clear()
            self._limits.clear()
        for token in effects.lost:
            log.warning("token.lost", extra={"token": token.token, "pools": token.pools})
        if effects.pre_grants or effects.lost:
            self._tasks.create_task(self._publish_hints(cohort, effects))

    async def _publish_hints(self, cohort: str, effects: Effects) -> None:
        """Publish hints. They may not arrive: waiters also poll, and holders also renew."""
        for pre_grant in effects.pre_grants:
            granted = TokenGranted(**pre_grant._asdict())
            await self._publish_hint(subjects.granted, cohort, granted)
        for token in effects.lost:
            reason = "its lease has ended, or an admin released it"
            lost = TokenLost(**token._asdict(), reason=reason)
            await self._publish_hint(subjects.lost, cohort, lost)

    async def _publish_hint(
        self, subject: Callable[[str, str], str], cohort: str, hint: TokenGranted | TokenLost
    ) -> None:
        try:
            await self._nats.publish(subject(cohort, hint.token), hint.model_dump_json().encode())
        except (nats.errors.Error, Invalid) as error:  # Not every token fits into a subject.
            log.debug("hint.not_sent", extra={"token": hint.token, "error": str(error)})


def _find_pool(settings: Settings, name: str) -> PoolChanged | None:
    return settings.pools.get(name) or settings.pools.get(ANY_POOL)


async def _collect(work: Awaitable[object], failures: list[Exception]) -> bool:
    """Await work, and add its failure to the list. Return whether there was none."""
    try:
        await work
    except Exception as error:  # noqa: BLE001  # The caller raises it after its other work.
        failures.append(error)
        return False
    return True


def _is_outage(error: Exception) -> bool:
    return isinstance(error, Unavailable)
