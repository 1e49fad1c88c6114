"""Flyte's ResourceManager for plugins that were written for it, on top of resmgr.

The words are Flyte's (``flyteplugins/…/core/resource_manager.go``), in Python's spelling: a plugin
registers its pools with a `ResourceRegistrar` when it is loaded, and asks a `ResourceManager`, made
for each task, at every round::

    async with Plugins(resmgr) as plugins:
        await plugins.registrar("connector").register_resource_quota("default", 1000)
        manager = plugins.manager("connector", "flytesnacks", "development", "f1")
        status = await manager.allocate_resource("default", "f1-n0-0", ResourceConstraintsSpec())

What plugins rely on holds: asking again for what is held is granted whatever the limits are now,
giving back what is not held succeeds, a refusal is `Exhausted` and no error, nothing blocks. Where
Go returns ``AllocationUndefined`` with an error, the error is raised. What Flyte does wrong it does
not do: a quota is never exceeded, a cap counts whole names, and 0 is none allowed.

Tokens have leases here, of which old plugins know nothing: they are renewed until they are released
or the block ends. What is still held then, ask for it again in the next process before its lease is
over, as for every task that goes on.
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
"""Of the manager, as in Flyte, where it begins every pool's name."""


class AllocationStatus(IntEnum):
    """Flyte's numbers and words."""

    UNDEFINED = 0
    GRANTED = 1
    EXHAUSTED = 2
    NAMESPACE_QUOTA_EXCEEDED = 3
    """Never given, as in Flyte: its plugins take it for an error."""

    def __str__(self) -> str:
        return _WORDS[self]


_WORDS: Mapping[AllocationStatus, str] = {
    AllocationStatus.UNDEFINED: "AllocationUndefined",
    AllocationStatus.GRANTED: "Granted",
    AllocationStatus.EXHAUSTED: "Exhausted",
    AllocationStatus.NAMESPACE_QUOTA_EXCEEDED: "NamespaceQuotaExceeded",
}


@dataclass(frozen=True)
class ResourceConstraintsSpec:
    """Caps that come with a request; ``None`` is none at that level."""

    project_scope_resource_constraint: int | None = None
    namespace_scope_resource_constraint: int | None = None
    """Of the project in the domain."""


class Plugins:
    """The plugins of one process; used as ``async with``, which renews what they hold."""

    def __init__(self, resmgr: ResmgrClient, lease_seconds: float = 60.0) -> None:
        self.lease_seconds = lease_seconds
        self._resmgr = resmgr
        self._pools = Pools(resmgr)
        self._tasks = asyncio.TaskGroup()
        self._kept: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for keeping in self._kept.values():
            keeping.cancel()
        await self._tasks.__aexit__(kind, error, traceback)

    def registrar(self, plugin: str) -> "ResourceRegistrar":
        return ResourceRegistrar(self._resmgr, plugin)

    def manager(self, plugin: str, project: str, domain: str, execution: str) -> "ResourceManager":
        """For one task of an execution."""
        return ResourceManager(self, plugin, project, domain, execution)

    async def allocate(self, ask: Allocate) -> AllocationStatus:
        """Raises `trimtab.errors.TrimtabError`."""
        sent = now()
        answer = await self._resmgr.request(ask, Allocated)
        if answer.status != "granted":
            log.info("token.refused", extra={"token": ask.token, "reason": answer.reason})
            return AllocationStatus.EXHAUSTED
        lease = Lease(ask, fence=answer.fence, seconds=answer.lease_seconds, sent=sent)
        self._forget(lease.pools[0], lease.token)
        keeping = self._tasks.create_task(self._pools.keep_renewed(lease))
        self._kept[lease.pools[0], lease.token] = keeping
        return AllocationStatus.GRANTED

    async def release(self, ask: Release) -> None:
        """Raises `trimtab.errors.TrimtabError`."""
        self._forget(ask.all_pools[0], ask.token)
        await self._resmgr.request(ask, Released)

    def _forget(self, pool: str, token: str) -> None:
        if (keeping := self._kept.pop((pool, token), None)) is not None:
            keeping.cancel()


class ResourceRegistrar:
    """Of one plugin, while it is loaded."""

    def __init__(self, resmgr: ResmgrClient, plugin: str) -> None:
        self._resmgr = resmgr
        self._plugin = plugin

    async def register_resource_quota(self, namespace: str, quota: int) -> None:
        """The same quota again is fine, for every process does so at its start.

        Raises `trimtab.errors.Rejected` on another one and on one above ``resourceMaxQuota``.
        """
        pool = composed_pool(self._plugin, namespace)
        ask = parse_model(Register, {"pool": pool, "quota": quota})
        await self._resmgr.request(ask, Registered, timeout=10)


class ResourceManager:
    """Of one plugin, for one task."""

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
        """Take one unit, or say at once that there is none.

        Raises `trimtab.errors.NotFound` on a pool that was never registered, `Invalid`, and
        `Unavailable`, which a plugin should take for a reason to wait.
        """
        asked = {
            "pool": composed_pool(self._plugin, namespace),
            "token": self._token(allocation_token),
            "project": self._project,
            "domain": self._domain,
            "project_cap": constraints.project_scope_resource_constraint,
            "project_domain_cap": constraints.namespace_scope_resource_constraint,
            "lease_seconds": self._plugins.lease_seconds,
        }
        return await self._plugins.allocate(parse_model(Allocate, asked))

    async def release_resource(self, namespace: str, allocation_token: str) -> None:
        """Give it back. Raises `trimtab.errors.Unavailable`."""
        pool = composed_pool(self._plugin, namespace)
        token = self._token(allocation_token)
        await self._plugins.release(parse_model(Release, {"pool": pool, "token": token}))

    def _token(self, token: str) -> str:
        return composed_token(self._project, self._domain, self._execution, token)


def composed_pool(plugin: str, namespace: str) -> str:
    """Each plugin has pools of its own: ``redisresourcemanager:connector:default``."""
    return f"{ID}:{plugin}:{namespace}"


def composed_token(project: str, domain: str, execution: str, token: str) -> str:
    """As Flyte writes it: ``ex:flytesnacks:development:f1-f1-n0-0``."""
    return f"ex:{project}:{domain}:{execution}-{token}"
