"""Projects, domains, clusters and pools."""

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.api.places import (
    ClusterBody,
    DomainBody,
    PoolBody,
    PoolPriorityBody,
    PoolTokenBody,
    ProjectBody,
)
from trimtab.client.requests import Noun, at, because, precondition, write
from trimtab.levels import Scope
from trimtab.tokens.protocol import Inspected, Recounted, Released, Reprioritized


class Projects(Noun):
    async def list(self) -> Sequence[ProjectBody]:
        return await self._calls.many(ProjectBody, "/projects")

    async def get(self, name: str) -> ProjectBody:
        return await self._calls.one(ProjectBody, "GET", at("projects", name))

    async def create(self, project: ProjectBody) -> ProjectBody:
        """Raises `Conflict` where the name is taken."""
        return await self._calls.one(ProjectBody, "POST", "/projects", body=project)

    async def patch(
        self, name: str, changes: Mapping[str, Any], *, version: int | None = None
    ) -> ProjectBody:
        """Change ``description``, ``labels`` or ``state``; what is not named stays."""
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        path = at("projects", name)
        return await self._calls.one(ProjectBody, "PATCH", path, json=changes, headers=headers)

    async def archive(self, name: str) -> ProjectBody:
        """Nothing can be executed in it, and its namespaces are left alone."""
        return await self.patch(name, {"state": "archived"})

    async def unarchive(self, name: str) -> ProjectBody:
        return await self.patch(name, {"state": "active"})


class Domains(Noun):
    async def list(self) -> Sequence[DomainBody]:
        return await self._calls.many(DomainBody, "/domains")

    async def create(self, domain: DomainBody) -> DomainBody:
        """Raises `Conflict` where the name is taken."""
        return await self._calls.one(DomainBody, "POST", "/domains", body=domain)


class Clusters(Noun):
    async def list(self) -> Sequence[ClusterBody]:
        return await self._calls.many(ClusterBody, "/clusters")

    async def put(self, cluster: ClusterBody, *, version: int | None = None) -> ClusterBody:
        """Declare a cluster; without a version, whatever is stored is replaced."""
        request = precondition(version, force=version is None)
        path = at("clusters", cluster.name)
        return await self._calls.one(ClusterBody, "PUT", path, body=cluster, **request)


class Pools(Noun):
    async def list(self) -> Sequence[PoolBody]:
        return await self._calls.many(PoolBody, "/pools")

    async def get(self, name: str) -> PoolBody:
        return await self._calls.one(PoolBody, "GET", at("pools", name))

    async def put(
        self, pool: PoolBody, *, version: int | None = None, force: bool = False
    ) -> PoolBody:
        """Declare a pool, as `Records.put` does a record."""
        request = precondition(version, force)
        path = at("pools", pool.name)
        return await self._calls.one(PoolBody, "PUT", path, body=pool, **request)

    async def delete(
        self, name: str, *, version: int | None = None, force: bool = False, reason: str = ""
    ) -> None:
        """Nothing more is granted of it; who holds something keeps it. There being none is fine."""
        request = write(Scope(), version, force, reason)
        await self._calls.send("DELETE", at("pools", name), **request)

    async def usage(self, name: str) -> Inspected:
        """Who holds and who waits, as resmgr says it now."""
        return await self._calls.one(Inspected, "GET", at("pools", name, "usage"))

    async def audit(self, name: str) -> Recounted:
        """Count the pool anew, and tell what admins took away."""
        return await self._calls.one(Recounted, "GET", at("pools", name, "audit"))

    async def release(
        self, name: str, token: str, *, reason: str, pools: Sequence[str] = ()
    ) -> Released:
        """Take a token or a place away. ``pools`` are all that it is of, where there are several.

        Its holder is told that it is lost.
        """
        path = at("pools", name, "tokens", token, "release")
        body, headers = PoolTokenBody(pools=tuple(pools)), because(reason)
        return await self._calls.one(Released, "POST", path, body=body, headers=headers)

    async def reprioritize(
        self, name: str, token: str, priority: int, *, pools: Sequence[str] = ()
    ) -> Reprioritized:
        """Let a request that waits come earlier or later."""
        path = at("pools", name, "tokens", token)
        body = PoolPriorityBody(priority=priority, pools=tuple(pools))
        return await self._calls.one(Reprioritized, "PATCH", path, body=body)
