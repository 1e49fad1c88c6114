"""Workflows and launch plans."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from trimtab.api.executions import LaunchPlanBody, WorkflowBody
from trimtab.levels import Scope
from trimtab_admin.access.rights import Role
from trimtab_admin.api.inputs import PlaceQuery
from trimtab_admin.api.inputs import Query as Parameters
from trimtab_admin.api.rights import VIEWER_OF_WORKFLOW, As
from trimtab_admin.api.strict import Routes
from trimtab_admin.executions.workflows import Workflows, scope_of

Where = Annotated[PlaceQuery, Query()]


class VersionQuery(Parameters):
    """Which version."""

    version: str | None = None
    """The newest where absent."""


def router(workflows: Workflows) -> APIRouter:
    routes = Routes(tags=["workflows"])

    @routes.get("/workflows")
    async def list_workflows(query: Where, caller: As) -> Sequence[WorkflowBody]:
        return await workflows.list(caller, query.project, query.domain)

    @routes.post("/workflows", status_code=201, responses=_known(WorkflowBody))
    async def register_workflow(body: WorkflowBody, caller: As, response: Response) -> WorkflowBody:
        caller.check(Role.EDITOR, scope_of(body))
        response.status_code = _status(await workflows.register(body))
        return body

    @routes.get("/workflows/{project}/{domain}/{name}", dependencies=[VIEWER_OF_WORKFLOW])
    async def get_workflow(
        project: str, domain: str, name: str, query: Annotated[VersionQuery, Query()]
    ) -> WorkflowBody:
        return await workflows.get(Scope(domain, project), name, query.version)

    @routes.get("/launch_plans")
    async def list_launch_plans(query: Where, caller: As) -> Sequence[LaunchPlanBody]:
        return await workflows.list_launch_plans(caller, query.project, query.domain)

    @routes.post("/launch_plans", status_code=201, responses=_known(LaunchPlanBody))
    async def register_launch_plan(
        body: LaunchPlanBody, caller: As, response: Response
    ) -> LaunchPlanBody:
        caller.check(Role.EDITOR, scope_of(body))
        response.status_code = _status(await workflows.register_launch_plan(body))
        return body

    return routes


def _known(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model, "description": "It is registered already"}}


def _status(new: bool) -> int:
    return 201 if new else 200
