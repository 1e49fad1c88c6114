"""Makes resmgr's parts and joins them."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager, nullcontext
from pathlib import Path

from nats.aio.client import Client
from starlette.applications import Starlette

from trimtab import client
from trimtab.errors import Invalid
from trimtab.messages.events import PoolChanged
from trimtab.runtime import service
from trimtab.runtime.connection import connect
from trimtab.settings.view import Change, View
from trimtab.tokens import protocol
from trimtab_resmgr import connection, handlers, pools
from trimtab_resmgr.cohorts import Cohorts
from trimtab_resmgr.config import ResmgrConfig
from trimtab_resmgr.granting import Always, Granting, Limited
from trimtab_resmgr.leases import Rules
from trimtab_resmgr.metrics import Metrics

log = logging.getLogger(__name__)


def build(settings: ResmgrConfig) -> Starlette:
    """Raises `Invalid` on settings that do not fit together."""
    resmgr = _Resmgr(settings)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with connect(settings, "resmgr") as nats, resmgr.running(nats):
            yield

    return service.health_app(resmgr.wrong, lifespan, resmgr.facts)


class _Resmgr:
    """The service between its start and its end."""

    def __init__(self, settings: ResmgrConfig) -> None:
        block = settings.resourcemanager
        self._settings = settings
        self._ceiling = block.resource_max_quota
        self._redis = connection.connect(block.redis) if block.type == "redis" else None
        self._admin = client.Client(settings.admin_url, _token(settings.token_file))
        self._checks: dict[str, Callable[[], str]] = {}
        self._facts: Callable[[], dict[str, object]] = dict
        self._cohorts: Cohorts | None = None

    def wrong(self) -> dict[str, str]:
        """Why the service is not ready, by part."""
        return {part: wrong for part, check in self._checks.items() if (wrong := check())}

    def facts(self) -> dict[str, object]:
        """What ``/readyz`` tells beside that."""
        return {"type": self._settings.resourcemanager.type, **self._facts()}

    @asynccontextmanager
    async def running(self, nats: Client) -> AsyncIterator[None]:
        """Serve on this connection for as long as this lasts."""
        redis = nullcontext() if self._redis is None else aclosing(self._redis)
        async with self._admin, redis, asyncio.TaskGroup() as tasks:
            loaded = asyncio.Event()
            stale_after = self._settings.stale_after_seconds
            view = View(nats, self._changed, lambda: self._reloaded(view, loaded), stale_after)
            self._watch(nats, view)
            metrics = Metrics(lambda: view.settings.pools)
            if self._redis is not None:
                self._cohorts = self._limiting(nats, self._redis, view, tasks, metrics)
            serving = self._serve(nats, view, loaded, tasks, metrics)
            background = [tasks.create_task(each) for each in (view.follow(), serving)]
            yield
            for task in background:
                task.cancel()

    def _watch(self, nats: Client, view: View) -> None:
        self._facts = view.summary
        self._checks["requests"] = lambda: "not answered yet"
        self._checks["nats"] = lambda: "" if nats.is_connected else "not connected"
        unproved = "not proved to be what admin has stored"
        self._checks["settings"] = lambda: "" if view.ready else unproved

    def _limiting(
        self,
        nats: Client,
        redis: connection.Client,
        view: View,
        tasks: asyncio.TaskGroup,
        metrics: Metrics,
    ) -> Cohorts:
        block = self._settings.resourcemanager
        rules = Rules(
            lease=block.max_lease_seconds,
            grace=block.grace_seconds,
            place=block.place_seconds,
            poll=block.poll_seconds,
            ripe=block.reserve_seconds,
        )
        cohorts = Cohorts(nats, redis, view, tasks, rules, self._ceiling, metrics.heard)
        metrics.observe(cohorts.look, cohorts.quota)
        self._checks["redis"] = lambda: cohorts.wrong
        return cohorts

    async def _serve(
        self,
        nats: Client,
        view: View,
        loaded: asyncio.Event,
        tasks: asyncio.TaskGroup,
        metrics: Metrics,
    ) -> None:
        """Not before the pools are known: until then, other replicas answer."""
        await loaded.wait()
        try:
            self._check_ceiling(view.settings.pools.values())
        except Invalid as error:
            log.error("resmgr.refused_to_start", extra={"error": str(error)})
            os._exit(1)
        granting: Granting = Always(view)
        if self._cohorts is not None:
            ceiling = self._ceiling
            granting = Limited(view, self._cohorts, self._admin.pools, ceiling, metrics)
        async with handlers.serving(nats, granting, self._named(view), metrics.counts, tasks):
            del self._checks["requests"]
            if self._cohorts is None:
                await asyncio.get_running_loop().create_future()
            else:
                await asyncio.gather(self._cohorts.watch(), self._cohorts.keep())

    def _reloaded(self, view: View, loaded: asyncio.Event) -> None:
        if self._cohorts is not None:
            self._cohorts.changed(view.settings.pools)
        loaded.set()

    def _changed(self, changes: Iterable[Change]) -> None:
        """Say of a pool that grew beyond the ceiling while we run that it is cut to it."""
        live = []
        for event, revision, *_ in changes:
            match event:
                case PoolChanged(deleted=True) if self._cohorts is not None:
                    self._cohorts.deleted(event, revision)
                case PoolChanged(deleted=False):
                    live.append(event)
        if self._cohorts is not None:
            self._cohorts.changed(pool.name for pool in live)
        try:
            self._check_ceiling(live)
        except Invalid as error:
            log.warning("resmgr.quota_cut", extra={"error": str(error)})

    def _named(self, view: View) -> Callable[[], set[str]]:
        """The cohorts that there are, and those that something may still be held in."""
        used = () if self._cohorts is None else self._cohorts.used
        return lambda: {
            protocol.COHORT,
            *used,
            *(pool.cohort for pool in view.settings.pools.values()),
        }

    def _check_ceiling(self, found: Iterable[PoolChanged]) -> None:
        if self._redis is not None:
            pools.check_ceiling(found, self._ceiling)


def _token(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        allowed = f"a file that can be read ({error.strerror})"
        raise Invalid("token_file", str(file), allowed) from error
