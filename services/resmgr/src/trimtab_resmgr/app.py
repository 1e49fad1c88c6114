"""Makes resmgr's parts and joins them."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager, nullcontext

import httpx
from nats.aio.client import Client
from starlette.applications import Starlette

from trimtab import bus, service, tokens
from trimtab.errors import Invalid
from trimtab.events import PoolChanged
from trimtab.view import Change, View
from trimtab_resmgr import connection, handlers, pools
from trimtab_resmgr.granting import Always, Granting, Limited
from trimtab_resmgr.leases import Leases
from trimtab_resmgr.registration import TIMEOUT_SECONDS, Registry
from trimtab_resmgr.settings import ResmgrSettings

log = logging.getLogger(__name__)


def build(settings: ResmgrSettings) -> Starlette:
    """Raises `Invalid` on settings that do not fit together."""
    resmgr = _Resmgr(settings)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with bus.connected(settings, "resmgr") as client, resmgr.running(client):
            yield

    return service.bare(resmgr.wrong, lifespan, resmgr.facts)


class _Resmgr:
    """The service between its start and its end."""

    def __init__(self, settings: ResmgrSettings) -> None:
        self._settings = settings
        block = settings.resourcemanager
        self._ceiling = block.resource_max_quota
        self._redis = connection.connect(block.redis) if block.type == "redis" else None
        self._authorization = _authorization(settings)
        self._client: Client | None = None
        self._view: View | None = None
        self._leases: Leases | None = None
        self._checked = False

    @asynccontextmanager
    async def running(self, client: Client) -> AsyncIterator[None]:
        """Serve on this connection for as long as this lasts."""
        redis = nullcontext() if self._redis is None else aclosing(self._redis)
        async with self._admin() as admin, redis, asyncio.TaskGroup() as tasks:
            self._client = client
            self._view = View(
                client,
                changed=self._warn,
                reloaded=self._check_pools,
                stale_after_seconds=self._settings.stale_after_seconds,
            )
            background = [tasks.create_task(self._view.follow())]
            granting: Granting = Always(self._view)
            if self._redis is not None:
                self._leases = Leases(self._redis, tasks, tokens.COHORT)
                background.append(tasks.create_task(self._leases.watch()))
                granting = Limited(self._view, self._leases, Registry(admin), self._ceiling)
            async with handlers.serving(client, granting, tasks):
                yield
            for task in background:
                task.cancel()

    def wrong(self) -> dict[str, str]:
        """Why the service is not ready, by part."""
        found: dict[str, str] = {}
        if self._client is None or not self._client.is_connected:
            found["nats"] = "not connected"
        if self._view is None or not self._view.ready:
            found["settings"] = "not proved to be those that admin has stored"
        if self._leases is not None and self._leases.wrong:
            found["redis"] = self._leases.wrong
        return found

    def facts(self) -> dict[str, object]:
        """What ``/readyz`` tells beside that."""
        view = self._view.facts() if self._view is not None else {}
        return {"type": self._settings.resourcemanager.type, **view}

    def _admin(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self._settings.admin_url,
            headers=self._authorization,
            timeout=TIMEOUT_SECONDS,
            trust_env=False,  # a proxy for the outside world does not know our own services
        )

    def _warn(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if isinstance(change.event, PoolChanged) and change.event.quota > self._ceiling:
                fields = {"pool": change.event.name, "quota": change.event.quota}
                log.warning("resmgr.quota_cut", extra={**fields, "ceiling": self._ceiling})

    def _check_pools(self) -> None:
        """Not start where a pool is larger than any may be. One that grows later is cut."""
        if self._checked or self._redis is None or self._view is None:
            return
        self._checked = True
        try:
            pools.check_ceiling(self._view.settings.pools.values(), self._ceiling)
        except Invalid as error:
            log.error("resmgr.refused_to_start", extra={"error": str(error)})
            os._exit(1)


def _authorization(settings: ResmgrSettings) -> dict[str, str]:
    if settings.token_file is None:
        return {}
    try:
        token = settings.token_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Invalid(
            "token_file", str(settings.token_file), f"a file that can be read ({error.strerror})"
        ) from error
    return {"Authorization": f"Bearer {token}"}
