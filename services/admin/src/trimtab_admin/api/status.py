"""How admin itself is: namespaces as clusterres reports them, status, health."""

from collections.abc import Sequence

from fastapi import APIRouter, Response
from pydantic import BaseModel

from trimtab.levels import Scope
from trimtab.messages.events import NamespaceStatus
from trimtab_admin.access.rights import Role
from trimtab_admin.api.rights import ANYONE, As
from trimtab_admin.api.strict import Routes
from trimtab_admin.messaging.namespace_statuses import NamespaceStatuses
from trimtab_admin.operations.readiness import Readiness, StatusBody


class HealthBody(BaseModel):
    """What a probe is told."""

    status: str
    reasons: dict[str, str] = {}


def router(namespaces: NamespaceStatuses, readiness: Readiness) -> APIRouter:
    routes = Routes(tags=["status"])

    @routes.get("/namespaces")
    async def list_namespaces(caller: As) -> Sequence[NamespaceStatus]:
        def scope(status: NamespaceStatus) -> Scope:
            return Scope(status.domain, status.project)

        return [each for each in namespaces.list() if caller.may(Role.VIEWER, scope(each))]

    @routes.get("/status", dependencies=[ANYONE])
    async def get_status() -> StatusBody:
        return await readiness.status()

    return routes


def health_router(readiness: Readiness) -> APIRouter:
    """Outside the API: ``/healthz`` says that the process answers, ``/readyz`` that it can work."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/healthz")
    async def healthz() -> HealthBody:
        return HealthBody(status="ok")

    @routes.get("/readyz", response_model_exclude_defaults=True)
    async def readyz(response: Response) -> HealthBody:
        reasons = await readiness.reasons()
        if reasons:
            response.status_code = 503
            return HealthBody(status="not ready", reasons=reasons)
        return HealthBody(status="ready")

    return routes
