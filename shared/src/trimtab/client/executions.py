"""Workflows, launch plans, and executions of them."""

from collections.abc import Sequence

from trimtab.api.executions import ExecutionBody, ExecutionCreate, LaunchPlanBody, WorkflowBody
from trimtab.client.http import Collection, path_of, without_empty


class Workflows(Collection):
    async def list(
        self, project: str | None = None, domain: str | None = None
    ) -> Sequence[WorkflowBody]:
        params = without_empty(project=project, domain=domain)
        return await self._http.fetch_list(WorkflowBody, "/workflows", params)

    async def get(
        self, project: str, domain: str, name: str, version: str | None = None
    ) -> WorkflowBody:
        """Return the version, or the newest one."""
        path = path_of("workflows", project, domain, name)
        return await self._http.fetch(
            WorkflowBody, "GET", path, params=without_empty(version=version)
        )

    async def create(self, workflow: WorkflowBody) -> WorkflowBody:
        """Register a version. Raises `Conflict` where it exists with other content."""
        return await self._http.fetch(WorkflowBody, "POST", "/workflows", body=workflow)


class LaunchPlans(Collection):
    async def list(
        self, project: str | None = None, domain: str | None = None
    ) -> Sequence[LaunchPlanBody]:
        params = without_empty(project=project, domain=domain)
        return await self._http.fetch_list(LaunchPlanBody, "/launch_plans", params)

    async def create(self, launch_plan: LaunchPlanBody) -> LaunchPlanBody:
        return await self._http.fetch(LaunchPlanBody, "POST", "/launch_plans", body=launch_plan)


class Executions(Collection):
    async def create(self, execution: ExecutionCreate) -> ExecutionBody:
        return await self._http.fetch(ExecutionBody, "POST", "/executions", body=execution)

    async def list(
        self, project: str | None = None, domain: str | None = None, limit: int = 100
    ) -> Sequence[ExecutionBody]:
        """Return executions, the newest first."""
        params = without_empty(project=project, domain=domain, limit=limit)
        return await self._http.fetch_list(ExecutionBody, "/executions", params)

    async def get(self, execution: str) -> ExecutionBody:
        """Return an execution with its nodes and its resolution."""
        return await self._http.fetch(ExecutionBody, "GET", path_of("executions", execution))
