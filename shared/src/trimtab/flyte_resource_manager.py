"""Flyte's ResourceManager, for plugins that were written for it, on top of resmgr.

Names are those of Flyte (``flyteplugins/…/core/resource_manager.go``) in Python's spelling. A
plugin registers its pools with a `ResourceRegistrar` when it is loaded, and requests tokens from
the `ResourceManager` of each task in every round::

    async with Plugins(resmgr) as plugins:
        await plugins.registrar("connector").register_resource_quota("default", 1000)
        manager = plugins.manager("connector", "flytesnacks", "development", "f1")
        status = await manager.allocate_resource("default", "f1-n0-0", ResourceConstraintsSpec())

The guarantees that plugins rely on hold: requesting a held token is granted whatever the limits are
now, releasing a token that is not held succeeds, a refusal is `EXHAUSTED` and not an error, and no
call blocks. Where Go returns ``AllocationUndefined`` with an error, the error is raised. Three
defects of Flyte are not reproduced: a quota is never exceeded, a cap counts exact project names,
and a cap of 0 allows nothing.

Tokens have leases, which such plugins do not know of: `Plugins` renews them until they are released
or its block ends. A process that continues a task then requests its tokens again before their
leases end.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Self

from trimtab.models import parse_model
from trimtab.tokens.lease import Lease, now
from trimtab.tokens.pools import Pools
from trimtab.tokens.protocol import Allocate, Allocated, Register, Registered, Release, Released
from trimtab.tokens.resmgr import ResmgrClient

log = logging.getLogger(__name__)

ID = "redisresourcemanager"
"""The id of the manager. As in Flyte, the name of each pool begins with it."""


class AllocationStatus(IntEnum):
    """The result of an allocation, with the numbers and names of Flyte."""

    UNDEFINED = 0
    GRANTED = 1
    EXHAUSTED = 2
    NAMESPACE_QUOTA_EXCEEDED = 3
    """Never returned, as in Flyte, whose plugins treat it as an error."""

    def __str__(self) -> str:
        return _FLYTE_NAMES[self]


_FLYTE_NAMES: Mapping[AllocationStatus, str] = {
    AllocationStatus.UNDEFINED: "AllocationUndefined",
    AllocationStatus.GRANTED: "Granted",
    AllocationStatus.EXHAUSTED: "Exhausted",
    AllocationStatus.NAMESPACE_QUOTA_EXCEEDED: "NamespaceQuotaExceeded",
}


@dataclass(frozen=True)
class ResourceConstraintsSpec:
    """The caps of a request; ``None`` is no cap."""

    project_scope_resource_constraint: int | None = None
    namespace_scope_resource_constraint: int | None = None
    """The cap of the project in its domain."""


class Plugins:
    """The plugins of one process. As ``async with``, it renews the tokens that they hold."""

    def __init__(self, resmgr: ResmgrClient, lease_seconds: float = 60.0) -> None:
        self.lease_seconds = lease_seconds
        self._resmgr = resmgr
        self._pools = Pools(resmgr)
        self._tasks = asyncio.TaskGroup()
        self._renewals: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for renewal in self._renewals.values():
            renewal.cancel()
        await self._tasks.__aexit__(kind, error, traceback)

    def registrar(self, plugin: str) -> "ResourceRegistrar":
        return ResourceRegistrar(self._resmgr, plugin)

    def manager(self, plugin: str, project: str, domain: str, execution: str) -> "ResourceManager":
        """Return the resource manager of a plugin for one task of an execution."""
        return ResourceManager(self, plugin, project, domain, execution)

    async def allocate(self, request: Allocate) -> AllocationStatus:
        """Request a token once, and renew it if it is granted. Raises `TrimtabError`."""
        sent = now()
        reply = await self._resmgr.request(request, Allocated)
        if reply.status != "granted":
            log.info("token.refused", extra={"token": request.token, "reason": reply.reason})
            return AllocationStatus.EXHAUSTED
        lease = Lease(request, fence=reply.fence, seconds=reply.lease_seconds, sent=sent)
        self._stop_renewing(lease.pools[0], lease.token)
        renewal = self._tasks.create_task(self._pools.keep_renewed(lease))
        self._renewals[lease.pools[0], lease.token] = renewal
        return AllocationStatus.GRANTED

    async def release(self, request: Release) -> None:
        """Release a token. Raises `TrimtabError`."""
        self._stop_renewing(request.all_pools[0], request.token)
        await self._resmgr.request(request, Released)

    def _stop_renewing(self, pool: str, token: str) -> None:
        if (renewal := self._renewals.pop((pool, token), None)) is not None:
            renewal.cancel()


class ResourceRegistrar:
    """Registers the pools of one plugin while it is loaded."""

    def __init__(self, resmgr: ResmgrClient, plugin: str) -> None:
        self._resmgr = resmgr
        self._plugin = plugin

    async def register_resource_quota(self, namespace: str, quota: int) -> None:
        """Create the pool of a namespace.

        Repeating the same quota succeeds, since every process registers at its start. Raises
        `trimtab.errors.Rejected` on another quota and on one above ``resourceMaxQuota``.
        """
        pool = composed_pool(self._plugin, namespace)
        request = parse_model(Register, {"pool": pool, "quota": quota})
        await self._resmgr.request(request, Registered, timeout=10)


class ResourceManager:
    """Allocates and releases tokens of one plugin for one task."""

    def __init__(
        self, plugins: Plugins, plugin: str, project: str, domain: str, execution: str
    ) -> None:
        self._plugins = plugins
        self._plugin = plugin
        self._project = project
        self._domain = domain
        self._execution = execution

    def get_id(self) -> str:
        return ID

    async def allocate_resource(
        self, namespace: str, allocation_token: str, constraints: ResourceConstraintsSpec
    ) -> AllocationStatus:
        """Take one unit without waiting, or return `AllocationStatus.EXHAUSTED`.

        Raises `trimtab.errors.NotFound` on a pool that was never registered, `Invalid`, and
        `Unavailable`, after which a plugin should wait and try again.
        """
        fields = {
            "pool": composed_pool(self._plugin, namespace),
            "token": self._composed_token(allocation_token),
            "project": self._project,
            "domain": self._domain,
            "project_cap": constraints.project_scope_resource_constraint,
            "project_domain_cap": constraints.namespace_scope_resource_constraint,
            "lease_seconds": self._plugins.lease_seconds,
        }
        return await self._plugins.allocate(parse_model(Allocate, fields))

    async def release_resource(self, namespace: str, allocation_token: str) -> None:
        """Release a token. Raises `trimtab.errors.Unavailable`."""
        pool = composed_pool(self._plugin, namespace)
        token = self._composed_token(allocation_token)
        await self._plugins.release(parse_model(Release, {"pool": pool, "token": token}))

    def _composed_token(self, token: str) -> str:
        return composed_token(self._project, self._domain, self._execution, token)


def composed_pool(plugin: str, namespace: str) -> str:
    """Return the name of a plugin's own pool: ``redisresourcemanager:connector:default``."""
    return f"{ID}:{plugin}:{namespace}"


def composed_token(project: str, domain: str, execution: str, token: str) -> str:
    """Return the id of a token as Flyte writes it: ``ex:flytesnacks:development:f1-f1-n0-0``."""
    return f"ex:{project}:{domain}:{execution}-{token}"
