"""Executions."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from trimtab.api import ExecutionBody, ExecutionCreate
from trimtab_admin.executions import Executions
from trimtab_admin.routes.inputs import PlaceQuery
from trimtab_admin.routes.strict import Routes


class ExecutionsQuery(PlaceQuery):
    """Which executions are listed."""

    limit: int = Field(default=100, ge=1, le=1000)


def router(executions: Executions) -> APIRouter:
    routes = Routes("/executions", tags=["executions"])

    @routes.get("")
    async def list_executions(
        query: Annotated[ExecutionsQuery, Query()],
    ) -> Sequence[ExecutionBody]:
        return await executions.list(query.project, query.domain, query.limit)

    @routes.post("", status_code=201)
    async def create_execution(body: ExecutionCreate) -> ExecutionBody:
        return await executions.create(body)

    @routes.get("/{execution}")
    async def get_execution(execution: str) -> ExecutionBody:
        return await executions.get(execution)

    return routes
