"""The leases of every cohort, and what goes on without being asked for.

Leases that have ended are reaped, changed limits made known, and hints published to whom they
concern. All of it may be done by several replicas at once, and be left undone by one that dies.
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
from trimtab.tokens import protocol
from trimtab_resmgr import pools
from trimtab_resmgr.connection import FAILURES, Client
from trimtab_resmgr.leases import Leases, Limits, News, Rules

log = logging.getLogger(__name__)

SWEEP_SECONDS = 0.2
"""How long units whose lease has ended may be idle while somebody waits for them."""
LOOK_SECONDS = 1.0
"""How often readiness looks whether Redis answers."""


class Cohorts:
    """Run `keep` for as long as they are used."""

    def __init__(
        self,
        nats: Nats,
        redis: Client,
        view: View,
        tasks: asyncio.TaskGroup,
        rules: Rules,
        ceiling: int,
        heard: Callable[[News], None],
    ) -> None:
        """``ceiling`` is the largest quota of any pool."""
        self.wrong = "Redis was not asked yet"
        """Why nothing can be granted; empty where it can. `watch` keeps it up to date."""
        self.rules = rules
        self._nats = nats
        self._redis = redis
        self._view = view
        self._tasks = tasks
        self._ceiling = ceiling
        self._heard = heard
        self._leases: dict[str, Leases] = {}
        self._limits: dict[str, Limits] = {}
        self._changed: set[str] = set()
        self._deleted: dict[str, Limits] = {}
        """Of pools that were deleted: what is to be made known, by cohort and name."""

    def leases(self, cohort: str) -> Leases:
        """Of a cohort that somebody has named."""
        if cohort not in self._leases:
            self._leases[cohort] = Leases(
                self._redis,
                self._tasks,
                cohort,
                self.rules,
                lambda news: self._spread(cohort, news),
            )
        return self._leases[cohort]

    def quota(self, pool: PoolChanged) -> int:
        return min(pool.quota, self._ceiling)

    def limits(self, name: str, cohort: str) -> Limits:
        """As the scripts read them; written once for each change.

        Raises `NotFound`, and `Invalid` on a pool of another cohort.
        """
        known = self._limits.get(f"{cohort} {name}")
        return known if known is not None else self._write(name, cohort)

    def changed(self, names: Iterable[str]) -> None:
        """These pools have other limits than before: those who wait may go now."""
        self._changed.update(names)
        self._limits.clear()

    def deleted(self, pool: PoolChanged, revision: int) -> None:
        """Nothing more is granted of it, also not to those who wait; what is held stays held."""
        closed = pool.model_copy(update={"active": False})
        text = pools.limits(closed, revision, self._ceiling)
        self._deleted[f"{pool.cohort} {pool.name}"] = (pool.name, text)
        self._limits.clear()

    @property
    def used(self) -> Collection[str]:
        """Cohorts that something was asked of, also those of pools that are deleted since."""
        return self._leases.keys()

    def _write(self, name: str, cohort: str) -> Limits:
        settings = self._view.settings
        pool = settings.pool(name)
        if pool.cohort != cohort:
            right = f"one of cohort {cohort!r}; this one is of {pool.cohort!r}"
            raise Invalid("pool", name, right)
        # What holds of pools that nobody has declared also holds of one that was deleted since.
        declared = settings.digest.revision_of(subjects.pool(name))
        text = pools.limits(pool, declared or settings.revision, self._ceiling)
        if declared:  # others may be named once and never again
            self._limits[f"{cohort} {name}"] = (name, text)
        return name, text

    async def keep(self) -> None:
        """Sweep every cohort again and again, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            changed, self._changed = self._changed, set()
            try:
                await self._sweep(changed)
            except Unavailable as error:
                self._changed |= changed
                log.debug("cohorts.not_swept", extra={"error": str(error)})

    async def look(self) -> None:
        """Look at every pool that is declared, so that it is heard how full each of them is."""
        await self._sweep(self._view.settings.pools)

    async def watch(self) -> None:
        """Look again and again whether Redis answers, until cancelled."""
        while True:
            try:
                await self._redis.ping()
            except FAILURES as error:
                if not self.wrong:
                    log.warning("redis.lost", extra={"error": str(error)})
                self.wrong = f"Redis does not answer: {error}"
            else:
                if self.wrong:
                    log.info("redis.found")
                self.wrong = ""
            await asyncio.sleep(LOOK_SECONDS)

    async def _sweep(self, changed: Iterable[str]) -> None:
        declared: dict[str, list[Limits]] = {protocol.COHORT: []}
        for pool in self._view.settings.pools.values():
            declared.setdefault(pool.cohort, [])
        for name in changed:
            if (known := self._view.settings.pools.get(name)) is not None:
                declared[known.cohort].append(self.limits(name, known.cohort))
        deleted = dict(self._deleted)
        for key, limits in deleted.items():
            declared.setdefault(key.partition(" ")[0], []).append(limits)
        for cohort, all_limits in declared.items():
            await self.leases(cohort).declare(all_limits)
            await self.leases(cohort).sweep()
        for key in deleted:
            self._deleted.pop(key, None)

    def _spread(self, cohort: str, news: News) -> None:
        self._heard(news)
        for ended in news.ended:
            log.warning("lease.lost", extra={"token": ended.token, "pools": ended.pools})
        if news.woken or news.ended:
            self._tasks.create_task(self._hint(cohort, news))

    async def _hint(self, cohort: str, news: News) -> None:
        """Hints may get lost: whoever waits asks again, whoever holds renews."""
        hints: list[tuple[str, Model]] = []
        for woken in news.woken:
            granted = protocol.TokenGranted(**woken._asdict())
            hints.append((subjects.granted(cohort, woken.token), granted))
        for ended in news.ended:
            lost = protocol.TokenLost(
                **ended._asdict(), reason="its lease has ended, or it was taken away"
            )
            hints.append((subjects.lost(cohort, ended.token), lost))
        for subject, hint in hints:
            try:
                await self._nats.publish(subject, hint.model_dump_json().encode())
            except nats.errors.Error as error:
                log.debug("hint.not_sent", extra={"subject": subject, "error": str(error)})
                return
