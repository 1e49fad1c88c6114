"""The stores of all cohorts, and their background work.

Sweeps expire leases and declare changed limits; hints go to waiters that were granted and to
holders that lost a token. Several replicas may do all of it at the same time, and one that dies may
leave any of it undone.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable

import nats.errors
from nats.aio.client import Client as Nats

from trimtab.errors import Invalid, Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import PoolChanged
from trimtab.models import Model
from trimtab.settings.view import View
from trimtab.tokens.protocol import COHORT, TokenGranted, TokenLost
from trimtab_resmgr import encoding
from trimtab_resmgr.scripts import FAILURES, Client
from trimtab_resmgr.store import CohortStore, Effects, PoolLimits, Rules

log = logging.getLogger(__name__)

SWEEP_SECONDS = 0.2
"""The time between two sweeps: how long units of an ended lease may be idle despite waiters."""
PING_SECONDS = 1.0
"""The time between two checks of Redis for readiness."""


class Cohorts:
    """The stores of cohorts by name. Run `sweep_forever` for as long as they are used."""

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
        """Why nothing can be granted; empty where it can. `check_forever` updates it."""
        self.rules = rules
        self._nats = nats
        self._redis = redis
        self._view = view
        self._tasks = tasks
        self._ceiling = ceiling
        self._on_effects = on_effects
        self._stores: dict[str, CohortStore] = {}
        self._limits: dict[str, PoolLimits] = {}
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
            )
        return self._stores[cohort]

    def quota(self, pool: PoolChanged) -> int:
        """Return the quota of a pool, which the ceiling limits."""
        return min(pool.quota, self._ceiling)

    def limits(self, name: str, cohort: str) -> PoolLimits:
        """Return the limits of a pool as the scripts read them, encoded once for each change.

        Raises `NotFound`, and `Invalid` on a pool of another cohort.
        """
        known = self._limits.get(f"{cohort} {name}")
        return known if known is not None else self._encode_limits(name, cohort)

    def on_change(self, names: Iterable[str]) -> None:
        """Declare new limits of pools in the next sweep, which may grant their waiters."""
        self._changed.update(names)
        self._limits.clear()

    def on_delete(self, pool: PoolChanged, revision: int) -> None:
        """Stop granting a pool, also to its waiters. Held tokens stay held."""
        closed = pool.model_copy(update={"active": False})
        text = encoding.pool_limits(closed, revision, self._ceiling)
        self._deleted[f"{pool.cohort} {pool.name}"] = (pool.name, text)
        self._limits.clear()

    @property
    def used(self) -> Collection[str]:
        """The cohorts that have been requested, including those whose pools were deleted since."""
        return self._stores.keys()

    def _encode_limits(self, name: str, cohort: str) -> PoolLimits:
        settings = self._view.settings
        pool = settings.pool(name)
        if pool.cohort != cohort:
            allowed = f"one of cohort {cohort!r}; this one is of {pool.cohort!r}"
            raise Invalid("pool", name, allowed)
        # An undeclared pool has the limits of the default pool. The current revision lets them
        # replace the stored ones of a deleted pool with this name.
        declared = settings.digest.revision_of(subjects.pool(name))
        text = encoding.pool_limits(pool, declared or settings.revision, self._ceiling)
        if declared:  # An undeclared pool may be requested once and never again.
            self._limits[f"{cohort} {name}"] = (name, text)
        return name, text

    async def sweep_forever(self) -> None:
        """Sweep every cohort periodically, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            changed, self._changed = self._changed, set()
            try:
                await self._sweep(changed)
            except Unavailable as error:
                self._changed |= changed
                log.debug("cohorts.not_swept", extra={"error": str(error)})

    async def refresh_usage(self) -> None:
        """Call the scripts for every declared pool, so that `Effects` report the usage of each."""
        await self._sweep(self._view.settings.pools)

    async def check_forever(self) -> None:
        """Check periodically whether Redis answers, until cancelled."""
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

    async def _sweep(self, changed: Iterable[str]) -> None:
        declared: dict[str, list[PoolLimits]] = {COHORT: []}
        for pool in self._view.settings.pools.values():
            declared.setdefault(pool.cohort, [])
        for name in changed:
            if (known := self._view.settings.pools.get(name)) is not None:
                declared[known.cohort].append(self.limits(name, known.cohort))
        deleted = dict(self._deleted)
        for key, limits in deleted.items():
            declared.setdefault(key.partition(" ")[0], []).append(limits)
        for cohort, all_limits in declared.items():
            await self.store(cohort).declare(all_limits)
            await self.store(cohort).sweep()
        for key in deleted:
            self._deleted.pop(key, None)

    def _process(self, cohort: str, effects: Effects) -> None:
        self._on_effects(effects)
        for token in effects.lost:
            log.warning("token.lost", extra={"token": token.token, "pools": token.pools})
        if effects.pre_grants or effects.lost:
            self._tasks.create_task(self._publish_hints(cohort, effects))

    async def _publish_hints(self, cohort: str, effects: Effects) -> None:
        """Publish hints. They may not arrive: waiters also poll, and holders also renew."""
        hints: list[tuple[str, Model]] = []
        for pre_grant in effects.pre_grants:
            granted = TokenGranted(**pre_grant._asdict())
            hints.append((subjects.granted(cohort, pre_grant.token), granted))
        for token in effects.lost:
            reason = "its lease has ended, or an admin released it"
            lost = TokenLost(**token._asdict(), reason=reason)
            hints.append((subjects.lost(cohort, token.token), lost))
        for subject, hint in hints:
            try:
                await self._nats.publish(subject, hint.model_dump_json().encode())
            except nats.errors.Error as error:
                log.debug("hint.not_sent", extra={"subject": subject, "error": str(error)})
                return
