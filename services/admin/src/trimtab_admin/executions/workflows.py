"""Registers workflows and launch plans, and lists them. A registered version never changes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import sqlalchemy as sa

from trimtab import models
from trimtab.api.executions import LaunchPlanBody, WorkflowBody
from trimtab.blobs.port import BlobStore
from trimtab.errors import Invalid
from trimtab.levels import Scope
from trimtab.settings.fold import Effective
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.expansion import Registry
from trimtab.workflows.graphs.graph import Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab_admin.access.authorization import Caller, Role
from trimtab_admin.executions import (
    bundles,
    closures,
    override_limits,
    override_policies,
    override_types,
    versions,
)
from trimtab_admin.executions.override_limits import Limits
from trimtab_admin.executions.references import find_referenced
from trimtab_admin.executions.registered_tasks import add_tasks
from trimtab_admin.executions.target_settings import called_targets
from trimtab_admin.executions.versions import find_workflow
from trimtab_admin.settings.entities import check_active, check_scope
from trimtab_admin.settings.targets import RegisteredTargets
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.tree import Tree
from trimtab_admin.storage.visibility import Columns, visible_to

_MAX_LISTED = 1000

Select = sa.Select[str, str, str]
"""A query of project, domain and body."""
B = TypeVar("B", WorkflowBody, LaunchPlanBody)


class Workflows:
    """Registers and lists what can be executed."""

    def __init__(
        self,
        reading: Sessions,
        sessions: Sessions,
        tree: Tree,
        targets: RegisteredTargets,
        blobs: Callable[[], BlobStore],
    ) -> None:
        """``blobs`` returns the blob store, or raises `trimtab.errors.Unavailable`."""
        self._reading = reading
        self._sessions = sessions
        self._tree = tree
        self._targets = targets
        self._blobs = blobs

    async def register(self, body: WorkflowBody, caller: Caller, *, dry_run: bool = False) -> bool:
        """Register a version; return false if it is registered already with the same content.

        A dry run checks everything, and stores nothing. Raises `Invalid`, `NotFound` if the
        project, the domain, a pool, the bundle or what the workflow refers to does not exist,
        `Forbidden` if the caller may not see that, and `Conflict` if the project is archived or the
        version has different content.
        """
        workflow, scope = body.workflow, Scope(body.domain, body.project)
        async with transaction(self._reading) as session:
            _check_target(await self._tree.current(session), scope)
            registry = await find_referenced(session, workflow, caller)
        # What was found never changes, so it is checked while no transaction waits.
        await asyncio.to_thread(closures.check_registration, workflow, registry)
        if workflow.bundle and not dry_run:
            await bundles.require(self._blobs(), workflow.bundle)
        is_new = await versions.repeated(lambda: self._store(workflow, scope, dry_run=dry_run))
        self._targets.expire()
        return is_new

    async def _store(self, workflow: Workflow, scope: Scope, *, dry_run: bool) -> bool:
        """Store a version with its tasks; return whether it is new. Raises as `register`."""
        async with transaction(self._sessions, dry_run=dry_run) as session:
            settings = await self._tree.current(session)
            _check_target(settings, scope)
            for task in workflow.tasks.values():
                if task.pool is not None:
                    settings.pool(task.pool)
            is_new = await versions.add(
                session, tables.workflows, scope, workflow, workflow.version
            )
            if is_new:
                await add_tasks(session, scope, workflow)
        return is_new

    async def register_launch_plan(
        self, body: LaunchPlanBody, caller: Caller, *, dry_run: bool = False
    ) -> tuple[bool, tuple[str, ...]]:
        """Register a launch plan, which has the version of its workflow.

        Return also the warnings about values over the limits, which are lowered when an execution
        is admitted. Otherwise it returns and raises as `register` does.
        """
        plan, scope = body.launch_plan, Scope(body.domain, body.project)
        if plan.name == plan.workflow:
            raise Invalid(
                "launch_plan.name",
                plan.name,
                "another name: a workflow's default launch plan has the workflow's name",
            )
        async with transaction(self._reading) as session:
            settings = await self._tree.current(session)
            _check_target(settings, scope)
            workflow = await find_workflow(session, scope, plan.workflow, plan.version, caller)
            registry = await find_referenced(session, workflow)
        rules = _Rules.of(settings, body, registry)
        check = partial(_check_launch_plan, workflow, registry, plan, rules)
        warnings = await asyncio.to_thread(check)
        is_new = await versions.repeated(lambda: self._store_plan(plan, scope, dry_run=dry_run))
        self._targets.expire()
        return is_new, warnings

    async def _store_plan(self, plan: LaunchPlan, scope: Scope, *, dry_run: bool) -> bool:
        async with transaction(self._sessions, dry_run=dry_run) as session:
            _check_target(await self._tree.current(session), scope)
            return await versions.add(session, tables.launch_plans, scope, plan, plan.version)

    async def get(
        self, caller: Caller, scope: Scope, name: str, version: str | None
    ) -> WorkflowBody:
        """Return a version, or the newest one for ``None``. Raises `NotFound`."""
        async with transaction(self._reading) as session:
            workflow = await find_workflow(session, scope, name, version, caller)
        return WorkflowBody(project=scope.project, domain=scope.domain, workflow=workflow)

    async def list(self, caller: Caller, project: str, domain: str) -> Sequence[WorkflowBody]:
        """Return every version that the caller may see, newest first."""
        table = tables.workflows
        query = _newest(table, {"workflow": table.c.name}, caller, project, domain)
        return await self._visible(caller, query, _workflow_body)

    async def list_launch_plans(
        self, caller: Caller, project: str, domain: str
    ) -> Sequence[LaunchPlanBody]:
        """Return the launch plans that the caller may see, newest first, without default ones."""
        table = tables.launch_plans
        query = _newest(table, {"launch_plan": table.c.name}, caller, project, domain)
        return await self._visible(caller, query, _launch_plan_body)

    async def _visible(
        self, caller: Caller, query: Select, body_of: Callable[[str, str, str], Awaitable[B]]
    ) -> Sequence[B]:
        """Return the first `_MAX_LISTED` items that the caller may see."""
        found: list[B] = []
        async with transaction(self._reading) as session:
            # The columns are not the whole scope, so the query also finds invisible items.
            rows = await session.stream(query)
            async for row in rows:
                body = await body_of(*row)
                if caller.may(Role.VIEWER, scope_of(body)):
                    found.append(body)
                if len(found) == _MAX_LISTED:
                    break
        return found


def _check_target(settings: Settings, scope: Scope) -> None:
    """Raise `NotFound` or `Conflict` where nothing can be registered in the scope."""
    check_scope(settings, scope)
    check_active(settings.projects[scope.project])


class _Rules(NamedTuple):
    """The settings that the overrides of a launch plan have to keep."""

    limits: Limits
    policy: Effective

    @classmethod
    def of(cls, settings: Settings, body: LaunchPlanBody, registry: Registry) -> "_Rules":
        """Leave out settings that concern none of the overrides. Raises `Unreadable`."""
        overrides, scope = body.launch_plan.runtime_override.values(), scope_of(body)
        limiting = settings if any(each.resources for each in overrides) else Settings()
        judging = settings if any(each.pod_template for each in overrides) else Settings()
        limits = Limits(
            limiting.effective("task_resource", scope),
            {each: limiting.effective("task_resource", each) for each in called_targets(registry)},
        )
        return cls(limits, judging.effective("pod_policy", scope))


def _check_launch_plan(
    workflow: Workflow, registry: Registry, plan: LaunchPlan, rules: _Rules
) -> tuple[str, ...]:
    """Return the warnings. Raises `Invalid` where the launch plan does not match its workflow."""
    workflow.check_inputs("launch_plan.inputs", plan.inputs)
    expanded = closures.expand_checked(workflow, registry)
    expanded.check_hooks("launch_plan.runtime_override", plan.runtime_override)
    override_types.check(expanded, plan, {})
    override_policies.check(expanded, plan, {}, rules.policy)
    return override_limits.check(expanded, plan, {}, rules.limits)


def _newest(table: sa.Table, own: Columns, caller: Caller, project: str, domain: str) -> Select:
    """Return the query of a table, newest first.

    ``own`` are the columns that hold parts of the scope in addition to project and domain.
    """
    columns = {"project": table.c.project, "domain": table.c.domain, **own}
    query = sa.select(table.c.project, table.c.domain, table.c.body)
    query = query.where(visible_to(caller, columns))
    if project:
        query = query.where(table.c.project == project)
    if domain:
        query = query.where(table.c.domain == domain)
    return query.order_by(table.c.id.desc())


async def _workflow_body(project: str, domain: str, body: str) -> WorkflowBody:
    workflow = await versions.read_workflow(body)
    return WorkflowBody(project=project, domain=domain, workflow=workflow)


async def _launch_plan_body(project: str, domain: str, body: str) -> LaunchPlanBody:
    plan = models.read(LaunchPlan, body)
    return LaunchPlanBody(project=project, domain=domain, launch_plan=plan)


def scope_of(body: WorkflowBody | LaunchPlanBody) -> Scope:
    """Return the scope of records that apply to this workflow or launch plan only."""
    if isinstance(body, WorkflowBody):
        return Scope(body.domain, body.project, body.workflow.name)
    plan = body.launch_plan
    return Scope(body.domain, body.project, plan.workflow, plan.name)
