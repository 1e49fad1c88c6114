"""Operations on workflows, launch plans and executions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import Field

from trimtab.api.executions import ExecutionBody, ExecutionCreate, LaunchPlanBody, WorkflowBody
from trimtab.levels import Scope
from trimtab_admin.access.authorization import Role, any_caller, workflow_viewer
from trimtab_admin.access.call import Call
from trimtab_admin.api.operation import Operation, Reply
from trimtab_admin.api.parameters import Parameters, ProjectDomainQuery
from trimtab_admin.executions.executions import Executions
from trimtab_admin.executions.workflows import Workflows, scope_of


class VersionQuery(Parameters):
    """The version of a workflow."""

    version: str | None = None
    """Absent, it is the newest."""


class ExecutionsQuery(ProjectDomainQuery):
    """A filter of executions; an empty part matches all."""

    limit: int = Field(default=100, ge=1, le=1000)


@dataclass(frozen=True)
class ExecutionOperations:
    """The operations, with the workflows and executions."""

    workflows: Workflows
    executions: Executions

    def table(self) -> Sequence[Operation]:
        workflows = partial(Operation, tag="workflows")
        executions = partial(Operation, tag="executions")
        known = (200, "It is registered already")
        return (
            workflows("GET", "/workflows", self.list_workflows, any_caller),
            workflows("POST", "/workflows", self.register_workflow, any_caller, 201, known),
            workflows(
                "GET", "/workflows/{project}/{domain}/{name}", self.get_workflow, workflow_viewer
            ),
            workflows("GET", "/launch_plans", self.list_launch_plans, any_caller),
            workflows("POST", "/launch_plans", self.register_launch_plan, any_caller, 201, known),
            executions("GET", "/executions", self.list_executions, any_caller),
            executions("POST", "/executions", self.create_execution, any_caller, 201),
            executions("GET", "/executions/{execution}", self.get_execution, any_caller),
        )

    async def list_workflows(self, call: Call, query: ProjectDomainQuery) -> Sequence[WorkflowBody]:
        return await self.workflows.list(call.caller, query.project, query.domain)

    async def register_workflow(self, call: Call, body: WorkflowBody) -> Reply[WorkflowBody]:
        call.caller.check(Role.EDITOR, scope_of(body))
        is_new = await self.workflows.register(body)
        return Reply(body, status=201 if is_new else 200)

    async def get_workflow(
        self, call: Call, project: str, domain: str, name: str, query: VersionQuery
    ) -> WorkflowBody:
        return await self.workflows.get(Scope(domain, project), name, query.version)

    async def list_launch_plans(
        self, call: Call, query: ProjectDomainQuery
    ) -> Sequence[LaunchPlanBody]:
        return await self.workflows.list_launch_plans(call.caller, query.project, query.domain)

    async def register_launch_plan(self, call: Call, body: LaunchPlanBody) -> Reply[LaunchPlanBody]:
        call.caller.check(Role.EDITOR, scope_of(body))
        is_new = await self.workflows.register_launch_plan(body)
        return Reply(body, status=201 if is_new else 200)

    async def list_executions(self, call: Call, query: ExecutionsQuery) -> Sequence[ExecutionBody]:
        return await self.executions.list(call.caller, query.project, query.domain, query.limit)

    async def create_execution(self, call: Call, body: ExecutionCreate) -> ExecutionBody:
        call.caller.check(Role.EDITOR, _scope(body))
        return await self.executions.create(body)

    async def get_execution(self, call: Call, execution: str) -> ExecutionBody:
        body = await self.executions.get(execution)
        call.caller.check(Role.VIEWER, _scope(body))
        return body


def _scope(body: ExecutionCreate | ExecutionBody) -> Scope:
    """Return the scope whose editor may start the execution."""
    plan = "" if body.launch_plan in (None, body.workflow) else body.launch_plan
    return Scope(body.domain, body.project, body.workflow, plan or "")
