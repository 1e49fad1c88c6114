"""Registers workflows and launch plans, and finds them. A registered version never changes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab import models
from trimtab.api.executions import LaunchPlanBody, WorkflowBody
from trimtab.errors import Conflict, Invalid, NotFound
from trimtab.levels import Scope
from trimtab.workflows.graph import LaunchPlan, Workflow
from trimtab_admin.access.authorization import Caller, Role
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
        self, reading: Sessions, sessions: Sessions, tree: Tree, targets: RegisteredTargets
    ) -> None:
        self._reading = reading
        self._sessions = sessions
        self._tree = tree
        self._targets = targets

    async def register(self, body: WorkflowBody, *, dry_run: bool = False) -> bool:
        """Register a version; return false if it is registered already with the same content.

        A dry run checks everything, and stores nothing. Raises `Invalid`, `NotFound` if the
        project, the domain or a pool does not exist, and `Conflict` if the project is archived or
        the version has different content.
        """
        workflow = body.workflow
        workflow.check()
        async with transaction(self._sessions, dry_run=dry_run) as session:
            settings, scope = await self._tree.current(session), Scope(body.domain, body.project)
            check_scope(settings, scope)
            check_active(settings.projects[body.project])
            for task in workflow.tasks.values():
                if task.pool is not None:
                    settings.pool(task.pool)
            is_new = await _add(session, tables.workflows, scope, workflow, workflow.version)
        self._targets.expire()
        return is_new

    async def register_launch_plan(
        self, body: LaunchPlanBody, caller: Caller, *, dry_run: bool = False
    ) -> bool:
        """Register a launch plan, which has the version of its workflow.

        Returns and raises as `register` does.
        """
        plan, scope = body.launch_plan, Scope(body.domain, body.project)
        if plan.name == plan.workflow:
            raise Invalid(
                "launch_plan.name",
                plan.name,
                "another name: a workflow's default launch plan has the workflow's name",
            )
        async with transaction(self._sessions, dry_run=dry_run) as session:
            settings = await self._tree.current(session)
            check_scope(settings, scope)
            check_active(settings.projects[body.project])
            workflow = await find_workflow(session, scope, plan.workflow, plan.version, caller)
            workflow.check_hooks("launch_plan.runtime_override", plan.runtime_override)
            for name in plan.inputs:
                if name not in workflow.inputs:
                    known = ", ".join(workflow.inputs) or "none"
                    raise Invalid(f"launch_plan.inputs.{name}", plan.inputs[name], known)
            is_new = await _add(session, tables.launch_plans, scope, plan, plan.version)
        self._targets.expire()
        return is_new

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
        self, caller: Caller, query: Select, body_of: Callable[[str, str, str], B]
    ) -> Sequence[B]:
        """Return the first `_MAX_LISTED` items that the caller may see."""
        found: list[B] = []
        async with transaction(self._reading) as session:
            # The columns are not the whole scope, so the query also finds invisible items.
            rows = await session.stream(query)
            async for row in rows:
                body = body_of(*row)
                if caller.may(Role.VIEWER, scope_of(body)):
                    found.append(body)
                if len(found) == _MAX_LISTED:
                    break
        return found


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


def _workflow_body(project: str, domain: str, body: str) -> WorkflowBody:
    workflow = models.read(Workflow, body)
    return WorkflowBody(project=project, domain=domain, workflow=workflow)


def _launch_plan_body(project: str, domain: str, body: str) -> LaunchPlanBody:
    plan = models.read(LaunchPlan, body)
    return LaunchPlanBody(project=project, domain=domain, launch_plan=plan)


def scope_of(body: WorkflowBody | LaunchPlanBody) -> Scope:
    """Return the scope of records that apply to this workflow or launch plan only."""
    if isinstance(body, WorkflowBody):
        return Scope(body.domain, body.project, body.workflow.name)
    plan = body.launch_plan
    return Scope(body.domain, body.project, plan.workflow, plan.name)


async def find_workflow(
    session: AsyncSession, scope: Scope, name: str, version: str | None, caller: Caller
) -> Workflow:
    """Return a version of a workflow, or the newest one for ``None``.

    Raises `NotFound` with the nearest versions or workflows of those that the caller may see.
    """
    table = tables.workflows.c
    here = sa.and_(table.project == scope.project, table.domain == scope.domain)
    body = await _newest_body(session, tables.workflows, scope, name, version)
    if body is not None:
        return models.read(Workflow, body)
    versions = await _distinct(session, table.version, sa.and_(here, table.name == name))
    if version is not None and versions:
        raise NotFound.among(f"version of workflow {name!r}", version, versions)
    workflows = await _distinct(session, table.name, here)
    if not caller.reaches(scope):
        workflows = [each for each in workflows if caller.reaches(replace(scope, workflow=each))]
    raise NotFound.among("workflow", name, workflows)


async def find_launch_plan(
    session: AsyncSession,
    scope: Scope,
    name: str,
    workflow: str,
    version: str | None,
    caller: Caller,
) -> LaunchPlan:
    """Return the launch plan for a version of the workflow, or the newest one for ``None``.

    Raises `NotFound` with the nearest launch plans, if the caller may see all of the workflow.
    """
    body = await _newest_body(session, tables.launch_plans, scope, name, version)
    plan = None if body is None else models.read(LaunchPlan, body)
    if plan is None or plan.workflow != workflow:
        suffix = f" version {version}" if version is not None else ""
        table = tables.launch_plans.c
        here = sa.and_(table.project == scope.project, table.domain == scope.domain)
        # Whose launch plans they are is in their bodies only.
        plans = await _distinct(session, table.name, here) if caller.reaches(scope) else []
        raise NotFound.among(f"launch plan of workflow {workflow}{suffix}", name, plans)
    return plan


async def _newest_body(
    session: AsyncSession, table: sa.Table, scope: Scope, name: str, version: str | None
) -> str | None:
    row = table.c
    here = sa.and_(row.project == scope.project, row.domain == scope.domain, row.name == name)
    query = sa.select(row.body).where(here)
    if version is not None:
        query = query.where(row.version == version)
    body: str | None = await session.scalar(query.order_by(row.id.desc()).limit(1))
    return body


async def _distinct(
    session: AsyncSession, column: sa.ColumnElement[str], where: sa.ColumnElement[bool]
) -> Sequence[str]:
    return sorted(await session.scalars(sa.select(column).where(where).distinct()))


async def _add(
    session: AsyncSession, table: sa.Table, scope: Scope, item: Workflow | LaunchPlan, version: str
) -> bool:
    """Insert a version; return false if it is stored already with the same content."""
    key = {
        "project": scope.project,
        "domain": scope.domain,
        "name": item.name,
        "version": version,
    }
    query = sa.select(table.c.body).where(*(table.c[name] == value for name, value in key.items()))
    stored = await session.scalar(query)
    if stored is None:
        row = {**key, "body": item.model_dump_json(), "created_at": datetime.now(UTC)}
        await session.execute(table.insert(), row)
        return True
    if _content(models.read(type(item), stored)) != _content(item):
        noun = table.name.removesuffix("s").replace("_", " ")
        raise Conflict(
            f"{noun} {item.name!r} version {version!r} is registered with different content; "
            "register the change as a new version"
        )
    return False


def _content(item: Workflow | LaunchPlan) -> Workflow | LaunchPlan:
    """Return what has to be equal in one version: releases differ in the types that they find."""
    return item.model_copy(update={"input_types": {}}) if isinstance(item, Workflow) else item
