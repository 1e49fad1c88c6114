"""The composition of resmgr: creates its parts and connects them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager, nullcontext
from pathlib import Path

import nats.errors as nats_errors
from nats.aio.client import Client as Nats
from starlette.applications import Starlette

from trimtab.client import Client as AdminClient
from trimtab.errors import Invalid, Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import PoolChanged
from trimtab.runtime import bus, service
from trimtab.runtime.connection import connect
from trimtab.runtime.tasks import retry_forever
from trimtab.settings.view import Change, View
from trimtab.tokens.protocol import COHORT
from trimtab_resmgr import handlers, limits, scripts
from trimtab_resmgr.cohorts import Cohorts
from trimtab_resmgr.config import ResmgrConfig
from trimtab_resmgr.managers import Manager, NoopManager, RedisManager
from trimtab_resmgr.metrics import Metrics
from trimtab_resmgr.store import Rules

log = logging.getLogger(__name__)


def build(config: ResmgrConfig) -> Starlette:
    """Return the application. Raises `Invalid` on values that do not fit together."""
    resmgr = _Resmgr(config)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with connect(config, "resmgr") as nats, resmgr.run(nats):
            yield

    return service.health_app(resmgr.unready_reasons, lifespan, resmgr.details)


class _Resmgr:
    """The running service: its connections, checks and background tasks."""

    def __init__(self, config: ResmgrConfig) -> None:
        block = config.resourcemanager
        self._config = config
        self._ceiling = block.resource_max_quota
        self._redis = scripts.connect(block.redis) if block.type == "redis" else None
        self._admin = AdminClient(config.admin_url, _read_token(config.token_file))
        self._checks: dict[str, Callable[[], str]] = {}
        self._summary: Callable[[], dict[str, object]] = dict
        self._pools: Callable[[], Iterable[PoolChanged]] = tuple
        self._cohorts: Cohorts | None = None
        self._reloaded = asyncio.Event()

    def unready_reasons(self) -> dict[str, str]:
        """Return why the service is not ready, by part."""
        return {part: reason for part, check in self._checks.items() if (reason := check())}

    def details(self) -> dict[str, object]:
        """Return the further fields of ``/readyz``."""
        errors = self._cut_quotas(self._pools())
        cut: dict[str, object] = {"quotas_cut": errors} if errors else {}
        return {"type": self._config.resourcemanager.type, **cut, **self._summary()}

    @asynccontextmanager
    async def run(self, nats: Nats) -> AsyncIterator[None]:
        """Serve on this connection while the block runs."""
        redis = nullcontext() if self._redis is None else aclosing(self._redis)
        async with self._admin, redis, asyncio.TaskGroup() as tasks:
            loaded = asyncio.Event()
            stale_after = self._config.stale_after_seconds
            view = View(nats, self._on_changes, self._reloaded.set, stale_after)
            self._add_checks(nats, view)
            metrics = Metrics(lambda: view.settings.pools)
            if self._redis is not None:
                self._cohorts = self._build_cohorts(nats, self._redis, view, tasks, metrics)
            serving = self._serve(nats, view, loaded, tasks, metrics)
            reloads = retry_forever(
                lambda: self._follow_reloads(nats, view, loaded), "resmgr.not_reloaded"
            )
            background = [tasks.create_task(each) for each in (view.follow(), reloads, serving)]
            yield
            for task in background:
                task.cancel()

    def _add_checks(self, nats: Nats, view: View) -> None:
        self._summary = view.summary
        self._pools = lambda: view.settings.pools.values()
        self._checks["requests"] = lambda: "not served yet"
        self._checks["nats"] = lambda: "" if nats.is_connected else "not connected"
        unverified = "not verified to be those that admin has stored"
        self._checks["settings"] = lambda: "" if view.ready else unverified

    def _build_cohorts(
        self,
        nats: Nats,
        redis: scripts.Client,
        view: View,
        tasks: asyncio.TaskGroup,
        metrics: Metrics,
    ) -> Cohorts:
        block = self._config.resourcemanager
        rules = Rules(
            max_lease=block.max_lease_seconds,
            grace=block.grace_seconds,
            keep_waiter=block.place_seconds,
            keep_poller=block.poll_seconds,
            reserve_after=block.reserve_seconds,
            reserve_idle=max(block.reserve_seconds, 1.0),
            late_after=block.request_seconds,
        )
        cohorts = Cohorts(nats, redis, view, tasks, rules, self._ceiling, metrics.on_effects)
        metrics.observe_pools(cohorts.refresh_usage, cohorts.quota)
        self._checks["redis"] = lambda: cohorts.unready_reason
        return cohorts

    async def _follow_reloads(self, nats: Nats, view: View, loaded: asyncio.Event) -> None:
        """Declare all pools after each reload. Raises `Unavailable`."""
        while True:
            await self._reloaded.wait()
            self._reloaded.clear()
            if self._cohorts is not None:
                try:
                    generation = await _read_generation(nats)
                except Unavailable:
                    self._reloaded.set()
                    raise
                self._cohorts.on_reload(generation)
            loaded.set()

    async def _serve(
        self,
        nats: Nats,
        view: View,
        loaded: asyncio.Event,
        tasks: asyncio.TaskGroup,
        metrics: Metrics,
    ) -> None:
        """Join the queue group once the pools are known: until then, other replicas serve."""
        await loaded.wait()
        self._report_cut_quotas(view.settings.pools.values())
        manager: Manager = NoopManager(view)
        if self._cohorts is not None:
            pools = self._admin.pools
            manager = RedisManager(view, self._cohorts, pools, self._ceiling, metrics)
        cohorts = self._known_cohorts(view)
        async with handlers.serve(nats, manager, cohorts, metrics.counts, tasks):
            del self._checks["requests"]
            if self._cohorts is None:
                await asyncio.get_running_loop().create_future()
            else:
                await self._cohorts.run()

    def _on_changes(self, changes: Iterable[Change]) -> None:
        """Apply changes of pools, and warn about one whose quota now exceeds the ceiling."""
        current = []
        for event, revision, *_ in changes:
            match event:
                case PoolChanged(deleted=True) if self._cohorts is not None:
                    self._cohorts.on_delete(event, revision)
                case PoolChanged(deleted=False):
                    current.append(event)
        if self._cohorts is not None:
            self._cohorts.on_change(pool.name for pool in current)
        self._report_cut_quotas(current)

    def _known_cohorts(self, view: View) -> Callable[[], set[str]]:
        """Return a function of the cohorts that pools name, or that may have held tokens."""
        used = () if self._cohorts is None else self._cohorts.used
        return lambda: {COHORT, *used, *(pool.cohort for pool in view.settings.pools.values())}

    def _report_cut_quotas(self, pools: Iterable[PoolChanged]) -> None:
        for error in self._cut_quotas(pools):
            log.warning("resmgr.quota_cut", extra={"error": error})

    def _cut_quotas(self, pools: Iterable[PoolChanged]) -> list[str]:
        """Return the error of each pool of which less is granted than its quota."""
        if self._redis is None:
            return []
        errors = (limits.quota_error(pool, self._ceiling) for pool in pools)
        return [str(error) for error in errors if error is not None]


async def _read_generation(nats: Nats) -> int:
    """Return when the stream of the settings was created, in microseconds. Raises `Unavailable`."""
    try:
        info = await nats.jetstream(timeout=bus.TIMEOUT_SECONDS).stream_info(subjects.SETTINGS)
    except (nats_errors.Error, TimeoutError) as error:
        raise Unavailable(f"cannot read the age of {subjects.SETTINGS}: {error}") from error
    return round(info.created.timestamp() * 1_000_000) if info.created is not None else 0


def _read_token(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        allowed = f"a file that can be read ({error.strerror})"
        raise Invalid("token_file", str(file), allowed) from error
