"""Workflows, launch plans, and executions of them."""

from collections.abc import Sequence

from trimtab.api.executions import ExecutionBody, ExecutionCreate, LaunchPlanBody, WorkflowBody
from trimtab.client.requests import Noun, at, given


class Workflows(Noun):
    async def list(
        self, project: str | None = None, domain: str | None = None
    ) -> Sequence[WorkflowBody]:
        params = given(project=project, domain=domain)
        return await self._calls.many(WorkflowBody, "/workflows", params)

    async def get(
        self, project: str, domain: str, name: str, version: str | None = None
    ) -> WorkflowBody:
        """The version asked for, or the newest."""
        path = at("workflows", project, domain, name)
        return await self._calls.one(WorkflowBody, "GET", path, params=given(version=version))

    async def create(self, workflow: WorkflowBody) -> WorkflowBody:
        """The same version again is fine; with another content it raises `Conflict`."""
        return await self._calls.one(WorkflowBody, "POST", "/workflows", body=workflow)


class LaunchPlans(Noun):
    async def list(
        self, project: str | None = None, domain: str | None = None
    ) -> Sequence[LaunchPlanBody]:
        params = given(project=project, domain=domain)
        return await self._calls.many(LaunchPlanBody, "/launch_plans", params)

    async def create(self, launch_plan: LaunchPlanBody) -> LaunchPlanBody:
        return await self._calls.one(LaunchPlanBody, "POST", "/launch_plans", body=launch_plan)


class Executions(Noun):
    async def create(self, execution: ExecutionCreate) -> ExecutionBody:
        return await self._calls.one(ExecutionBody, "POST", "/executions", body=execution)

    async def list(
        self, project: str | None = None, domain: str | None = None, limit: int = 100
    ) -> Sequence[ExecutionBody]:
        """The newest first."""
        params = given(project=project, domain=domain, limit=limit)
        return await self._calls.many(ExecutionBody, "/executions", params)

    async def get(self, execution: str) -> ExecutionBody:
        """With its nodes and its resolution."""
        return await self._calls.one(ExecutionBody, "GET", at("executions", execution))
