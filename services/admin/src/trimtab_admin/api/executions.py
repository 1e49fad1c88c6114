"""Executions."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from trimtab.api.executions import ExecutionBody, ExecutionCreate
from trimtab.levels import Scope
from trimtab_admin.access.rights import Role
from trimtab_admin.api.inputs import PlaceQuery
from trimtab_admin.api.rights import As
from trimtab_admin.api.strict import Routes
from trimtab_admin.executions.executions import Executions


class ExecutionsQuery(PlaceQuery):
    """Which executions are listed."""

    limit: int = Field(default=100, ge=1, le=1000)


def router(executions: Executions) -> APIRouter:
    routes = Routes("/executions", tags=["executions"])

    @routes.get("")
    async def list_executions(
        query: Annotated[ExecutionsQuery, Query()], caller: As
    ) -> Sequence[ExecutionBody]:
        return await executions.list(caller, query.project, query.domain, query.limit)

    @routes.post("", status_code=201)
    async def create_execution(body: ExecutionCreate, caller: As) -> ExecutionBody:
        caller.check(Role.EDITOR, _scope(body))
        return await executions.create(body)

    @routes.get("/{execution}")
    async def get_execution(execution: str, caller: As) -> ExecutionBody:
        body = await executions.get(execution)
        caller.check(Role.VIEWER, _scope(body))
        return body

    return routes


def _scope(body: ExecutionCreate | ExecutionBody) -> Scope:
    plan = "" if body.launch_plan in (None, body.workflow) else body.launch_plan
    return Scope(body.domain, body.project, body.workflow, plan or "")
