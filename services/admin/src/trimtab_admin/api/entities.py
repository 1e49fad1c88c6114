"""Projects, domains, clusters and pools."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query

from trimtab.api.entities import ClusterBody, DomainBody, PoolBody, ProjectBody
from trimtab.errors import Invalid
from trimtab_admin.api.inputs import By, Given, Write
from trimtab_admin.api.rights import ADMIN, ADMIN_OF_PROJECT, ANYONE, VIEWER_OF_PROJECT, As
from trimtab_admin.api.strict import Routes
from trimtab_admin.settings.entities import CLUSTERS, DOMAINS, POOLS, PROJECTS
from trimtab_admin.settings.reading import Reader
from trimtab_admin.settings.requests import CreateEntity, DeleteEntity, PatchEntity, PutEntity
from trimtab_admin.settings.writing import Writer

How = Annotated[Write, Query()]


def router(reader: Reader, writer: Writer) -> APIRouter:
    routes = APIRouter()
    for of_type in (_projects, _domains, _clusters, _pools):
        routes.include_router(of_type(reader, writer))
    return routes


def _projects(reader: Reader, writer: Writer) -> APIRouter:
    routes = Routes("/projects", tags=["projects"])

    @routes.get("")
    async def list_projects(caller: As) -> Sequence[ProjectBody]:
        return [body for body in await reader.entities(PROJECTS) if caller.knows(body.name)]

    @routes.post("", status_code=201, dependencies=[ADMIN])
    async def create_project(body: ProjectBody, author: By) -> ProjectBody:
        return (await writer.write(CreateEntity(PROJECTS, body), author)).entity(PROJECTS)

    @routes.get("/{name}", dependencies=[VIEWER_OF_PROJECT])
    async def get_project(name: str) -> ProjectBody:
        return await reader.entity(PROJECTS, name)

    @routes.put("/{name}", dependencies=[ADMIN_OF_PROJECT])
    async def put_project(
        name: str, body: ProjectBody, query: How, author: By, given: Given
    ) -> ProjectBody:
        _same(name, body.name)
        # Only POST creates a project, so that a typo creates none.
        await reader.entity(PROJECTS, name)
        request = PutEntity(PROJECTS, body, given.optional(force=query.force))
        return (await writer.write(request, author)).entity(PROJECTS)

    @routes.patch("/{name}", dependencies=[ADMIN_OF_PROJECT])
    async def patch_project(
        name: str, patch: dict[str, Any], query: How, author: By, given: Given
    ) -> ProjectBody:
        request = PatchEntity(PROJECTS, name, patch, given.optional(force=query.force))
        return (await writer.write(request, author)).entity(PROJECTS)

    return routes


def _domains(reader: Reader, writer: Writer) -> APIRouter:
    routes = Routes("/domains", tags=["domains"])

    @routes.get("", dependencies=[ANYONE])
    async def list_domains() -> Sequence[DomainBody]:
        return await reader.entities(DOMAINS)

    @routes.post("", status_code=201, dependencies=[ADMIN])
    async def create_domain(body: DomainBody, author: By) -> DomainBody:
        return (await writer.write(CreateEntity(DOMAINS, body), author)).entity(DOMAINS)

    return routes


def _clusters(reader: Reader, writer: Writer) -> APIRouter:
    routes = Routes("/clusters", tags=["clusters"])

    @routes.get("", dependencies=[ANYONE])
    async def list_clusters() -> Sequence[ClusterBody]:
        return await reader.entities(CLUSTERS)

    @routes.put("/{name}", dependencies=[ADMIN])
    async def put_cluster(
        name: str, body: ClusterBody, query: How, author: By, given: Given
    ) -> ClusterBody:
        _same(name, body.name)
        request = PutEntity(CLUSTERS, body, given.optional(force=query.force))
        return (await writer.write(request, author)).entity(CLUSTERS)

    return routes


def _pools(reader: Reader, writer: Writer) -> APIRouter:
    routes = Routes("/pools", tags=["pools"])

    @routes.get("", dependencies=[ANYONE])
    async def list_pools() -> Sequence[PoolBody]:
        return await reader.entities(POOLS)

    @routes.get("/{name}", dependencies=[ANYONE])
    async def get_pool(name: str) -> PoolBody:
        return await reader.entity(POOLS, name)

    @routes.put("/{name}", dependencies=[ADMIN])
    async def put_pool(name: str, body: PoolBody, query: How, author: By, given: Given) -> PoolBody:
        _same(name, body.name)
        request = PutEntity(POOLS, body, given.demand(force=query.force))
        return (await writer.write(request, author)).entity(POOLS)

    @routes.delete("/{name}", status_code=204)
    async def delete_pool(name: str, query: How, author: By, given: Given) -> None:
        """Delete a pool: it grants nothing more, and tokens of it stay valid until released."""
        request = DeleteEntity(POOLS, name, given.demand(force=query.force))
        await writer.write(request, author)

    return routes


def _same(in_path: str, in_body: str) -> None:
    if in_path != in_body:
        raise Invalid("name", in_body, f"{in_path}, as in the path")
