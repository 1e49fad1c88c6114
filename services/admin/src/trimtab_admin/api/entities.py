"""Operations on projects, domains, clusters and pools, and on the tokens of pools."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import Field

from trimtab.api.entities import (
    ClusterBody,
    DomainBody,
    PoolBody,
    PoolPriorityBody,
    PoolTokenBody,
    ProjectBody,
)
from trimtab.api.settings import ChangesBody
from trimtab.errors import Invalid
from trimtab.tokens.protocol import (
    MAX_LISTED,
    MAX_POOLS,
    Holder,
    Inspected,
    PageEnd,
    PoolUse,
    Recounted,
    Released,
    Reprioritized,
    Waiter,
)
from trimtab_admin.access.audit import AuditEntry
from trimtab_admin.access.authorization import (
    any_caller,
    platform_admin,
    platform_viewer,
    project_admin,
    project_viewer,
)
from trimtab_admin.access.call import Call
from trimtab_admin.api.operation import Operation, Reply
from trimtab_admin.api.parameters import (
    DryRunQuery,
    PageQuery,
    Parameters,
    ReasonHeader,
    WriteHeaders,
    WriteQuery,
)
from trimtab_admin.maintenance.pool_usage import PoolUsage
from trimtab_admin.paging import Page
from trimtab_admin.settings.entities import CLUSTERS, DOMAINS, POOLS, PROJECTS, B, E, EntityType
from trimtab_admin.settings.reading import Reader
from trimtab_admin.settings.requests import (
    CreateEntity,
    DeleteEntity,
    PatchEntity,
    PutEntity,
    WriteRequest,
)
from trimtab_admin.settings.writing import Writer


class PoolUsageQuery(PageQuery):
    """The part of the list of all pools that is returned."""

    limit: int = Field(default=MAX_POOLS, ge=1, le=MAX_POOLS)
    cohort: str = Field(default="", max_length=63, pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$")
    """A filter; empty, it matches all."""


class InspectQuery(Parameters):
    """The part of the holders and of the waiters of a pool that is returned."""

    limit: int = Field(default=MAX_LISTED, ge=1, le=MAX_LISTED)
    """The most holders, and the most waiters."""
    holders_after: PageEnd | None = None
    """The `holders_next` of the page before"""
    waiters_after: PageEnd | None = None
    """The `waiters_next` of the page before"""


@dataclass(frozen=True)
class EntityOperations:
    """The operations, with what reads and writes entities and inspects pools."""

    reader: Reader
    writer: Writer
    usage: PoolUsage

    def table(self) -> Sequence[Operation]:
        projects = partial(Operation, tag="projects")
        domains = partial(Operation, tag="domains")
        clusters = partial(Operation, tag="clusters")
        pools = partial(Operation, tag="pools")
        project, pool = "/projects/{name}", "/pools/{name}"
        dry_run = (200, "What a dry run would change")
        # The id of a pool's token has slashes.
        token = f"{pool}/tokens/{{token:path}}"
        return (
            projects("GET", "/projects", self.list_projects, any_caller),
            projects("POST", "/projects", self.create_project, platform_admin, 201, dry_run),
            projects("GET", project, self.get_project, project_viewer),
            projects("PUT", project, self.put_project, project_admin),
            projects("PATCH", project, self.patch_project, project_admin),
            domains("GET", "/domains", self.list_domains, any_caller),
            domains("POST", "/domains", self.create_domain, platform_admin, 201, dry_run),
            clusters("GET", "/clusters", self.list_clusters, any_caller),
            clusters("PUT", "/clusters/{name}", self.put_cluster),
            pools("GET", "/pools", self.list_pools, any_caller),
            pools("GET", pool, self.get_pool, any_caller),
            pools("PUT", pool, self.put_pool),
            pools("DELETE", pool, self.delete_pool, platform_admin, 204, dry_run),
            pools("GET", "/pool-usage", self.list_pool_usage, platform_viewer),
            pools("GET", f"{pool}/usage", self.inspect_pool, platform_viewer),
            pools("GET", f"{pool}/audit", self.audit_pool),
            pools("POST", f"{token}/release", self.release_token),
            pools("PATCH", token, self.patch_token),
        )

    async def list_projects(self, call: Call) -> Sequence[ProjectBody]:
        projects = await self.reader.entities(PROJECTS)
        return [body for body in projects if call.caller.may_see_project(body.name)]

    async def create_project(
        self, call: Call, query: DryRunQuery, headers: ReasonHeader, body: ProjectBody
    ) -> Reply[ProjectBody | ChangesBody]:
        return await self._write(call, PROJECTS, CreateEntity(PROJECTS, body), query, headers)

    async def get_project(self, call: Call, name: str) -> ProjectBody:
        return await self.reader.entity(PROJECTS, name)

    async def put_project(
        self, call: Call, name: str, query: WriteQuery, headers: WriteHeaders, body: ProjectBody
    ) -> Reply[ProjectBody | ChangesBody]:
        _check_name(name, body.name)
        # Only POST creates a project, so that a typo creates none.
        await self.reader.entity(PROJECTS, name)
        request = PutEntity(PROJECTS, body, headers.optional_precondition(force=query.force))
        return await self._write(call, PROJECTS, request, query, headers)

    async def patch_project(
        self, call: Call, name: str, query: WriteQuery, headers: WriteHeaders, body: dict[str, Any]
    ) -> Reply[ProjectBody | ChangesBody]:
        precondition = headers.optional_precondition(force=query.force)
        request = PatchEntity(PROJECTS, name, body, precondition)
        return await self._write(call, PROJECTS, request, query, headers)

    async def _write(
        self,
        call: Call,
        type: EntityType[B, E],
        request: WriteRequest,
        query: DryRunQuery,
        headers: ReasonHeader,
    ) -> Reply[B | ChangesBody]:
        """Return the entity, or what a dry run would change."""
        if query.dry_run:
            return Reply(await self.writer.dry_run(request, call.caller), status=200)
        return Reply((await self.writer.write(request, headers.author(call))).entity(type))

    async def list_domains(self, call: Call) -> Sequence[DomainBody]:
        return await self.reader.entities(DOMAINS)

    async def create_domain(
        self, call: Call, query: DryRunQuery, headers: ReasonHeader, body: DomainBody
    ) -> Reply[DomainBody | ChangesBody]:
        return await self._write(call, DOMAINS, CreateEntity(DOMAINS, body), query, headers)

    async def list_clusters(self, call: Call) -> Sequence[ClusterBody]:
        return await self.reader.entities(CLUSTERS)

    async def put_cluster(
        self, call: Call, name: str, query: WriteQuery, headers: WriteHeaders, body: ClusterBody
    ) -> Reply[ClusterBody | ChangesBody]:
        _check_name(name, body.name)
        request = PutEntity(CLUSTERS, body, headers.optional_precondition(force=query.force))
        return await self._write(call, CLUSTERS, request, query, headers)

    async def list_pools(self, call: Call) -> Sequence[PoolBody]:
        return await self.reader.entities(POOLS)

    async def get_pool(self, call: Call, name: str) -> PoolBody:
        return await self.reader.entity(POOLS, name)

    async def put_pool(
        self, call: Call, name: str, query: WriteQuery, headers: WriteHeaders, body: PoolBody
    ) -> Reply[PoolBody | ChangesBody]:
        _check_name(name, body.name)
        await self.usage.check_cohort(name, body.cohort)
        request = PutEntity(POOLS, body, headers.required_precondition(force=query.force))
        return await self._write(call, POOLS, request, query, headers)

    async def delete_pool(
        self, call: Call, name: str, query: WriteQuery, headers: WriteHeaders
    ) -> Reply[ChangesBody] | None:
        """Grant no more tokens of the pool; holders keep theirs until they release them."""
        request = DeleteEntity(POOLS, name, headers.required_precondition(force=query.force))
        if query.dry_run:
            return Reply(await self.writer.dry_run(request, call.caller), status=200)
        await self.writer.write(request, headers.author(call))
        return None

    async def list_pool_usage(self, call: Call, query: PoolUsageQuery) -> Page[PoolUse]:
        """Return the use of all pools, and since when, by what and why each grants nothing now.

        Pools that are not declared are listed while they are used. A page is of one cohort, and may
        be empty.
        """
        return await self.usage.list(query.cohort, query.token, query.limit)

    async def inspect_pool(self, call: Call, name: str, query: InspectQuery) -> Inspected:
        """Return holders, waiters with position and reason, and sums by project.

        Where only one of `holders_after` and `waiters_after` is given, only that list is continued.
        """
        return await self.usage.inspect(name, query.limit, query.holders_after, query.waiters_after)

    async def audit_pool(self, call: Call, name: str) -> Recounted:
        """Recount the pool: return what differs, and which tokens admins released."""
        return await self.usage.recount(name)

    async def release_token(
        self,
        call: Call,
        name: str,
        token: str,
        query: DryRunQuery,
        headers: ReasonHeader,
        body: PoolTokenBody,
    ) -> Released:
        """Release a token by force. Its holder is notified; ``X-Trimtab-Reason`` is required."""
        if not headers.reason:
            raise Invalid("X-Trimtab-Reason", "", "the reason for releasing the token")
        if query.dry_run:
            used = await self.usage.find(name, token, body.pools)
            return Released(released=isinstance(used, Holder), withdrew=isinstance(used, Waiter))
        entry, author = AuditEntry.of(call, 200), headers.author(call)
        return await self.usage.force_release(name, token, body.pools, author, entry)

    async def patch_token(
        self,
        call: Call,
        name: str,
        token: str,
        query: DryRunQuery,
        headers: ReasonHeader,
        body: PoolPriorityBody,
    ) -> Reprioritized:
        """Change the priority of a waiter. A dry run does not return the position."""
        if query.dry_run:
            used = await self.usage.find(name, token, body.pools)
            return Reprioritized(waiting=isinstance(used, Waiter))
        author = headers.author(call)
        return await self.usage.reprioritize(name, token, body.pools, body.priority, author)


def _check_name(in_path: str, in_body: str) -> None:
    """Raises `Invalid`."""
    if in_path != in_body:
        raise Invalid("name", in_body, f"{in_path}, as in the path")
