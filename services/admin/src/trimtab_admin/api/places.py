"""Projects, domains, clusters and pools."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query

from trimtab.api.places import ClusterBody, DomainBody, PoolBody, ProjectBody
from trimtab.errors import Invalid
from trimtab.messages.events import ClusterChanged, DomainChanged, PoolChanged, ProjectChanged
from trimtab_admin.api.inputs import By, Given, Write
from trimtab_admin.api.rights import ADMIN, ADMIN_OF_PROJECT, ANYONE, VIEWER_OF_PROJECT, As
from trimtab_admin.api.strict import Routes
from trimtab_admin.settings.places import Places

Projects = Places[ProjectBody, ProjectChanged]
Domains = Places[DomainBody, DomainChanged]
Clusters = Places[ClusterBody, ClusterChanged]
Pools = Places[PoolBody, PoolChanged]

How = Annotated[Write, Query()]


def router(projects: Projects, domains: Domains, clusters: Clusters, pools: Pools) -> APIRouter:
    routes = APIRouter()
    routes.include_router(_projects(projects))
    routes.include_router(_domains(domains))
    routes.include_router(_clusters(clusters))
    routes.include_router(_pools(pools))
    return routes


def _projects(projects: Projects) -> APIRouter:
    routes = Routes("/projects", tags=["projects"])

    @routes.get("")
    async def list_projects(caller: As) -> Sequence[ProjectBody]:
        return [body for body in await projects.list() if caller.knows(body.name)]

    @routes.post("", status_code=201, dependencies=[ADMIN])
    async def create_project(body: ProjectBody, author: By) -> ProjectBody:
        return await projects.create(body, author)

    @routes.get("/{name}", dependencies=[VIEWER_OF_PROJECT])
    async def get_project(name: str) -> ProjectBody:
        return await projects.get(name)

    @routes.put("/{name}", dependencies=[ADMIN_OF_PROJECT])
    async def put_project(
        name: str, body: ProjectBody, query: How, author: By, given: Given
    ) -> ProjectBody:
        _same(name, body.name)
        await projects.get(name)  # A project is made by POST only, so that a typo makes none.
        return await projects.put(body, given.optional(force=query.force), author)

    @routes.patch("/{name}", dependencies=[ADMIN_OF_PROJECT])
    async def patch_project(
        name: str, patch: dict[str, Any], query: How, author: By, given: Given
    ) -> ProjectBody:
        return await projects.patch(name, patch, given.optional(force=query.force), author)

    return routes


def _domains(domains: Domains) -> APIRouter:
    routes = Routes("/domains", tags=["domains"])

    @routes.get("", dependencies=[ANYONE])
    async def list_domains() -> Sequence[DomainBody]:
        return await domains.list()

    @routes.post("", status_code=201, dependencies=[ADMIN])
    async def create_domain(body: DomainBody, author: By) -> DomainBody:
        return await domains.create(body, author)

    return routes


def _clusters(clusters: Clusters) -> APIRouter:
    routes = Routes("/clusters", tags=["clusters"])

    @routes.get("", dependencies=[ANYONE])
    async def list_clusters() -> Sequence[ClusterBody]:
        return await clusters.list()

    @routes.put("/{name}", dependencies=[ADMIN])
    async def put_cluster(
        name: str, body: ClusterBody, query: How, author: By, given: Given
    ) -> ClusterBody:
        _same(name, body.name)
        return await clusters.put(body, given.optional(force=query.force), author)

    return routes


def _pools(pools: Pools) -> APIRouter:
    routes = Routes("/pools", tags=["pools"])

    @routes.get("", dependencies=[ANYONE])
    async def list_pools() -> Sequence[PoolBody]:
        return await pools.list()

    @routes.get("/{name}", dependencies=[ANYONE])
    async def get_pool(name: str) -> PoolBody:
        return await pools.get(name)

    @routes.put("/{name}", dependencies=[ADMIN])
    async def put_pool(name: str, body: PoolBody, query: How, author: By, given: Given) -> PoolBody:
        _same(name, body.name)
        return await pools.put(body, given.demand(force=query.force), author)

    @routes.delete("/{name}", status_code=204)
    async def delete_pool(name: str, query: How, author: By, given: Given) -> None:
        """Nothing more is granted of it; who holds something keeps it until it is given back."""
        await pools.delete(name, given.demand(force=query.force), author)

    return routes


def _same(in_path: str, in_body: str) -> None:
    if in_path != in_body:
        raise Invalid("name", in_body, f"{in_path}, as in the path")
