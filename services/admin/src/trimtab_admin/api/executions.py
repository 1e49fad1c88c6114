"""Operations on workflows, launch plans and executions."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from trimtab.api.executions import ExecutionBody, ExecutionCreate, LaunchPlanBody, WorkflowBody
from trimtab.api.launch_forms import LaunchForm
from trimtab.levels import Scope
from trimtab.workflows.graphs.graph import MAX_NODES
from trimtab_admin.access.authentication import Authentication
from trimtab_admin.access.authorization import (
    Role,
    any_caller,
    launch_plan_viewer,
    workflow_viewer,
)
from trimtab_admin.access.call import Call
from trimtab_admin.api.operation import Operation, Reply
from trimtab_admin.api.parameters import DryRunQuery, Parameters, ProjectDomainQuery
from trimtab_admin.executions.executions import Executions
from trimtab_admin.executions.following import ExecutionStreams
from trimtab_admin.executions.form_reading import LaunchForms
from trimtab_admin.executions.launch_forms import Page
from trimtab_admin.executions.workflows import Workflows, scope_of


class VersionQuery(Parameters):
    """The version of a workflow."""

    version: str | None = None
    """Absent, it is the newest."""


class FormQuery(VersionQuery):
    """The version, and the part of the hooks that is returned."""

    limit: int = Field(default=100, ge=1, le=500)
    """The most hooks"""
    hooks_after: int = Field(default=0, ge=0, le=MAX_NODES)
    """The `hooks_next` of the page before, of the same version"""

    @property
    def page(self) -> Page:
        return Page(self.hooks_after, self.limit)


class ExecutionsQuery(ProjectDomainQuery):
    """A filter of executions; an empty part matches all."""

    limit: int = Field(default=100, ge=1, le=1000)


class CreateQuery(DryRunQuery):
    """Whether the execution is created, or only resolved."""

    pod_of: str = Field(default="", max_length=200)
    """In a dry run: the node whose pod is returned as `pod`"""

    @model_validator(mode="after")
    def _check_dry_run(self) -> Self:
        if self.pod_of and not self.dry_run:
            raise ValueError("pod_of only with dry_run=true")
        return self


class ExecutionQuery(Parameters):
    """The part of an execution that is returned."""

    node: str = Field(default="", max_length=200)
    """The only node of `nodes` and of the resolution; absent, all are returned"""


_MAX_INDEX = 2**31 - 1
_MAX_KEY = 200
_KEY = re.compile("^[!-~]+$")


def _check_key(key: str) -> str:
    if len(key) > _MAX_KEY or not _KEY.fullmatch(key):
        raise ValueError(f"1 to {_MAX_KEY} visible ASCII characters")
    return key


class CreateHeaders(Parameters):
    """The header by which a repeated call creates nothing."""

    idempotency_key: Annotated[str, AfterValidator(_check_key)] | None = Field(
        default=None,
        alias="idempotency-key",
        json_schema_extra={"minLength": 1, "maxLength": _MAX_KEY, "pattern": _KEY.pattern},
    )
    """Visible ASCII, unique in the project and domain for as long as the execution is stored, which
    is without end. Repeated with the same body, it returns the execution that it created with
    status 200; with another body, 409"""


class FollowQuery(Parameters):
    """Where a stream begins."""

    since: int | None = Field(default=None, ge=0, le=_MAX_INDEX)
    """The index of the last change that the client has; absent, the stream has all changes."""


class FollowHeaders(Parameters):
    """The header by which a client resumes a stream of server-sent events."""

    last_event_id: int | None = Field(default=None, ge=0, le=_MAX_INDEX, alias="last-event-id")
    """The id of the last event that the client received; overrides `since`"""


@dataclass(frozen=True)
class ExecutionOperations:
    """The operations, with the workflows and executions."""

    workflows: Workflows
    forms: LaunchForms
    executions: Executions
    streams: ExecutionStreams
    authentication: Authentication

    def table(self) -> Sequence[Operation]:
        workflows = partial(Operation, tag="workflows")
        executions = partial(Operation, tag="executions")
        known = (200, "It is registered already, or would be: the call is a dry run")
        created = (200, "An earlier call with this Idempotency-Key, or no call: it is a dry run")
        return (
            workflows("GET", "/workflows", self.list_workflows, any_caller),
            workflows(
                "POST",
                "/workflows",
                self.register_workflow,
                any_caller,
                201,
                known,
                takes_workflow=True,
            ),
            workflows(
                "GET", "/workflows/{project}/{domain}/{name}", self.get_workflow, workflow_viewer
            ),
            workflows(
                "GET",
                "/workflows/{project}/{domain}/{name}/form",
                self.get_workflow_form,
                workflow_viewer,
            ),
            workflows("GET", "/launch_plans", self.list_launch_plans, any_caller),
            workflows(
                "POST",
                "/launch_plans",
                self.register_launch_plan,
                any_caller,
                201,
                known,
                may_warn=True,
            ),
            workflows(
                "GET",
                "/launch_plans/{project}/{domain}/{name}/form",
                self.get_launch_plan_form,
                launch_plan_viewer,
            ),
            executions("GET", "/executions", self.list_executions, any_caller),
            executions(
                "POST",
                "/executions",
                self.create_execution,
                any_caller,
                201,
                created,
                may_warn=True,
            ),
            executions("GET", "/executions/{execution}", self.get_execution, any_caller),
            executions("GET", "/executions/{execution}/events", self.follow_execution, any_caller),
        )

    async def list_workflows(self, call: Call, query: ProjectDomainQuery) -> Sequence[WorkflowBody]:
        return await self.workflows.list(call.caller, query.project, query.domain)

    async def register_workflow(
        self, call: Call, query: DryRunQuery, body: WorkflowBody
    ) -> Reply[WorkflowBody]:
        call.caller.check(Role.EDITOR, scope_of(body))
        is_new = await self.workflows.register(body, call.caller, dry_run=query.dry_run)
        return Reply(body, status=201 if is_new and not query.dry_run else 200)

    async def get_workflow(
        self, call: Call, project: str, domain: str, name: str, query: VersionQuery
    ) -> WorkflowBody:
        return await self.workflows.get(call.caller, Scope(domain, project), name, query.version)

    async def get_workflow_form(
        self, call: Call, project: str, domain: str, name: str, query: FormQuery
    ) -> LaunchForm:
        """List what an execution can be given: inputs, and for each hook the fields that it can
        override, with their defaults, the sources of these and the limits.
        """
        scope = Scope(domain, project)
        return await self.forms.of_workflow(call.caller, scope, name, query.version, query.page)

    async def list_launch_plans(
        self, call: Call, query: ProjectDomainQuery
    ) -> Sequence[LaunchPlanBody]:
        return await self.workflows.list_launch_plans(call.caller, query.project, query.domain)

    async def register_launch_plan(
        self, call: Call, query: DryRunQuery, body: LaunchPlanBody
    ) -> Reply[LaunchPlanBody]:
        call.caller.check(Role.EDITOR, scope_of(body))
        is_new, warnings = await self.workflows.register_launch_plan(
            body, call.caller, dry_run=query.dry_run
        )
        status = 201 if is_new and not query.dry_run else 200
        return Reply(body, status=status, warnings=warnings)

    async def get_launch_plan_form(
        self, call: Call, project: str, domain: str, name: str, query: FormQuery
    ) -> LaunchForm:
        """List the same for an execution through the launch plan, whose values are the defaults."""
        scope = Scope(domain, project)
        return await self.forms.of_launch_plan(call.caller, scope, name, query.version, query.page)

    async def list_executions(self, call: Call, query: ExecutionsQuery) -> Sequence[ExecutionBody]:
        return await self.executions.list(call.caller, query.project, query.domain, query.limit)

    async def create_execution(
        self, call: Call, query: CreateQuery, headers: CreateHeaders, body: ExecutionCreate
    ) -> Reply[ExecutionBody]:
        """A dry run resolves every value that the execution would run with, by the propeller that
        could run it, and starts nothing; the execution has no id then. An execution that would be
        refused is an error.
        """
        call.caller.check(Role.EDITOR, _scope(body))
        if query.dry_run:
            planned, warnings = await self.executions.check(body, call.caller, query.pod_of)
            return Reply(planned, status=200, warnings=warnings)
        execution, is_new, warnings = await self.executions.create(
            body, headers.idempotency_key, call.caller
        )
        return Reply(execution, status=201 if is_new else 200, warnings=warnings)

    async def get_execution(
        self, call: Call, execution: str, query: ExecutionQuery
    ) -> ExecutionBody:
        return await self.executions.get(execution, call.caller, query.node)

    async def follow_execution(
        self, call: Call, execution: str, query: FollowQuery, headers: FollowHeaders
    ) -> AsyncIterator[str]:
        """Each event is a `change` of a node or of the execution, with its index as id. The stream
        ends with the event `ended`, which has the phase that the execution ended in.
        """
        followed = await self.streams.find(execution, call.caller)
        self.streams.check_room(call.caller)
        resumed = headers.last_event_id
        start = await self.streams.start(execution, query.since if resumed is None else resumed)
        is_valid = partial(self.authentication.is_valid, call.caller)
        return self.streams.events(followed, start, call.caller, is_valid)


def _scope(body: ExecutionCreate) -> Scope:
    """Return the scope whose editor may start the execution."""
    plan = "" if body.launch_plan in (None, body.workflow) else body.launch_plan
    return Scope(body.domain, body.project, body.workflow, plan or "")
