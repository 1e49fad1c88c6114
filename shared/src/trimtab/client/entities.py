"""Entities: projects, domains, clusters, pools and queues."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from trimtab.api.entities import (
    ClusterBody,
    DomainBody,
    PoolBody,
    PoolPriorityBody,
    PoolTokenBody,
    ProjectBody,
    QueueBody,
)
from trimtab.api.settings import ChangesBody
from trimtab.client.http import (
    DRY_RUN,
    Collection,
    as_dry_run,
    path_of,
    precondition,
    reason_header,
    without_empty,
    write_request,
)
from trimtab.levels import Scope
from trimtab.tokens.protocol import (
    MAX_LISTED,
    Inspected,
    PoolUse,
    Recounted,
    Released,
    Reprioritized,
)


class Projects(Collection):
    """Projects. Methods whose names begin with ``dry_`` change nothing, and return the changes."""

    async def list(self) -> Sequence[ProjectBody]:
        return await self._http.fetch_list(ProjectBody, "/projects")

    async def get(self, name: str) -> ProjectBody:
        return await self._http.fetch(ProjectBody, "GET", path_of("projects", name))

    async def create(self, project: ProjectBody) -> ProjectBody:
        """Raises `Conflict` where the name is used."""
        return await self._http.fetch(ProjectBody, "POST", "/projects", body=project)

    async def dry_create(self, project: ProjectBody) -> ChangesBody:
        return await self._http.fetch(
            ChangesBody, "POST", "/projects", body=project, params=DRY_RUN
        )

    async def patch(
        self, name: str, changes: Mapping[str, Any], *, version: int | None = None
    ) -> ProjectBody:
        """Change ``description``, ``labels`` or ``state`` by JSON merge patch."""
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        path = path_of("projects", name)
        return await self._http.fetch(ProjectBody, "PATCH", path, json=changes, headers=headers)

    async def dry_patch(self, name: str, changes: Mapping[str, Any]) -> ChangesBody:
        path = path_of("projects", name)
        return await self._http.fetch(ChangesBody, "PATCH", path, json=changes, params=DRY_RUN)

    async def archive(self, name: str) -> ProjectBody:
        """Stop new executions in a project. Its namespaces do not change."""
        return await self.patch(name, {"state": "archived"})

    async def unarchive(self, name: str) -> ProjectBody:
        return await self.patch(name, {"state": "active"})


class Domains(Collection):
    async def list(self) -> Sequence[DomainBody]:
        return await self._http.fetch_list(DomainBody, "/domains")

    async def create(self, domain: DomainBody) -> DomainBody:
        """Raises `Conflict` where the name is used."""
        return await self._http.fetch(DomainBody, "POST", "/domains", body=domain)


class Clusters(Collection):
    async def list(self) -> Sequence[ClusterBody]:
        return await self._http.fetch_list(ClusterBody, "/clusters")

    async def put(self, cluster: ClusterBody, *, version: int | None = None) -> ClusterBody:
        """Declare a cluster; without a version, any stored version is replaced."""
        request = precondition(version, force=version is None)
        path = path_of("clusters", cluster.name)
        return await self._http.fetch(ClusterBody, "PUT", path, body=cluster, **request)


class Pools(Collection):
    async def list(self) -> Sequence[PoolBody]:
        return await self._http.fetch_list(PoolBody, "/pools")

    async def get(self, name: str) -> PoolBody:
        return await self._http.fetch(PoolBody, "GET", path_of("pools", name))

    async def put(
        self, pool: PoolBody, *, version: int | None = None, force: bool = False
    ) -> PoolBody:
        """Declare a pool; the arguments are those of `Records.put`."""
        request = precondition(version, force)
        path = path_of("pools", pool.name)
        return await self._http.fetch(PoolBody, "PUT", path, body=pool, **request)

    async def dry_put(self, pool: PoolBody, *, version: int | None = None) -> ChangesBody:
        """Return what `put` would change."""
        request = as_dry_run(precondition(version, force=False))
        path = path_of("pools", pool.name)
        return await self._http.fetch(ChangesBody, "PUT", path, body=pool, **request)

    async def delete(
        self, name: str, *, version: int | None = None, force: bool = False, reason: str = ""
    ) -> None:
        """Delete a pool: it grants no more tokens. Held tokens stay held until released."""
        request = write_request(Scope(), version, force, reason)
        await self._http.send("DELETE", path_of("pools", name), **request)

    async def dry_delete(self, name: str, *, version: int | None = None) -> ChangesBody:
        """Return what `delete` would change."""
        request = as_dry_run(precondition(version, force=False))
        return await self._http.fetch(ChangesBody, "DELETE", path_of("pools", name), **request)

    async def usages(self, cohort: str = "") -> Sequence[PoolUse]:
        """Return the use of all pools, of one cohort or of all."""
        return await self._http.fetch_list(PoolUse, "/pool-usage", without_empty(cohort=cohort))

    async def usage(self, name: str, limit: int = MAX_LISTED) -> Inspected:
        """Return so many of the current holders and waiters, with the sums of all."""
        return await anext(self.usage_pages(name, limit))

    async def usage_pages(self, name: str, limit: int = MAX_LISTED) -> AsyncIterator[Inspected]:
        """Yield pages until one has the last holder and one has the last waiter."""
        query: dict[str, str] = {}
        while True:
            params = {"limit": str(limit), **query}
            path = path_of("pools", name, "usage")
            page = await self._http.fetch(Inspected, "GET", path, params=params)
            yield page
            query = without_empty(holders_after=page.holders_next, waiters_after=page.waiters_next)
            if not query:
                return

    async def recount(self, name: str) -> Recounted:
        """Compare the pool's counters with its leases; also return forced releases."""
        return await self._http.fetch(Recounted, "GET", path_of("pools", name, "audit"))

    async def release(
        self,
        name: str,
        token: str,
        *,
        reason: str,
        pools: Sequence[str] = (),
        dry_run: bool = False,
    ) -> Released:
        """Release a token, or remove a waiter, by force; a dry run returns which it would be.

        ``pools`` are all pools of the token, where it is of several. Its holder is notified.
        """
        path = path_of("pools", name, "tokens", token, "release")
        body, headers = PoolTokenBody(pools=tuple(pools)), reason_header(reason)
        params = DRY_RUN if dry_run else {}
        return await self._http.fetch(
            Released, "POST", path, body=body, headers=headers, params=params
        )

    async def reprioritize(
        self,
        name: str,
        token: str,
        priority: int,
        *,
        pools: Sequence[str] = (),
        dry_run: bool = False,
    ) -> Reprioritized:
        """Change the priority of a waiter; a dry run returns whether it waits."""
        path = path_of("pools", name, "tokens", token)
        body = PoolPriorityBody(priority=priority, pools=tuple(pools))
        params = DRY_RUN if dry_run else {}
        return await self._http.fetch(Reprioritized, "PATCH", path, body=body, params=params)


class Queues(Collection):
    """Queues. Methods whose names begin with ``dry_`` change nothing, and return the changes."""

    async def list(self) -> Sequence[QueueBody]:
        return await self._http.fetch_list(QueueBody, "/queues")

    async def get(self, name: str) -> QueueBody:
        return await self._http.fetch(QueueBody, "GET", path_of("queues", name))

    async def put(
        self, queue: QueueBody, *, version: int | None = None, force: bool = False
    ) -> QueueBody:
        """Declare a queue; the arguments are those of `Records.put`."""
        request = precondition(version, force)
        path = path_of("queues", queue.name)
        return await self._http.fetch(QueueBody, "PUT", path, body=queue, **request)

    async def dry_put(self, queue: QueueBody, *, version: int | None = None) -> ChangesBody:
        request = as_dry_run(precondition(version, force=False))
        path = path_of("queues", queue.name)
        return await self._http.fetch(ChangesBody, "PUT", path, body=queue, **request)

    async def delete(
        self, name: str, *, version: int | None = None, force: bool = False, reason: str = ""
    ) -> None:
        """Delete a queue: no more executions go to it."""
        request = write_request(Scope(), version, force, reason)
        await self._http.send("DELETE", path_of("queues", name), **request)

    async def dry_delete(self, name: str, *, version: int | None = None) -> ChangesBody:
        request = as_dry_run(precondition(version, force=False))
        return await self._http.fetch(ChangesBody, "DELETE", path_of("queues", name), **request)
