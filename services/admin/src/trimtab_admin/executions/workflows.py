"""Registers workflows and launch plans, and finds them. A registered version never changes."""

from collections.abc import Callable, Sequence
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

    def __init__(self, reading: Sessions, sessions: Sessions, tree: Tree) -> None:
        self._reading = reading
        self._sessions = sessions
        self._tree = tree

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
            return await _add(session, tables.workflows, scope, workflow, workflow.version)

    async def register_launch_plan(self, body: LaunchPlanBody, *, dry_run: bool = False) -> bool:
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
            workflow = await find_workflow(session, scope, plan.workflow, plan.version)
            workflow.check_hooks("launch_plan.runtime_override", plan.runtime_override)
            for name in plan.inputs:
                if name not in workflow.inputs:
                    known = ", ".join(workflow.inputs) or "none"
                    raise Invalid(f"launch_plan.inputs.{name}", plan.inputs[name], known)
            return await _add(session, tables.launch_plans, scope, plan, plan.version)

    async def get(self, scope: Scope, name: str, version: str | None) -> WorkflowBody:
        """Return a version, or the newest one for ``None``. Raises `NotFound`."""
        async with transaction(self._reading) as session:
            workflow = await find_workflow(session, scope, name, version)
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
    session: AsyncSession, scope: Scope, name: str, version: str | None
) -> Workflow:
    """Return a version of a workflow, or the newest one for ``None``.

    Raises `NotFound`, which names the versions or workflows that exist.
    """
    table = tables.workflows.c
    here = sa.and_(table.project == scope.project, table.domain == scope.domain)
    query = sa.select(table.body).where(here, table.name == name)
    if version is not None:
        query = query.where(table.version == version)
    body = await session.scalar(query.order_by(table.id.desc()).limit(1))
    if body is not None:
        return models.read(Workflow, body)
    column = table.name if version is None else table.version
    where = here if version is None else sa.and_(here, table.name == name)
    known = await _known_names(session, column, where)
    if version is not None and known:
        raise NotFound(f"version of workflow {name!r}", version, known)
    raise NotFound("workflow", name, known if version is None else "")


async def find_launch_plan(
    session: AsyncSession, scope: Scope, name: str, workflow: str, version: str | None
) -> LaunchPlan:
    """Return the launch plan for a version of the workflow, or the newest one for ``None``.

    Raises `NotFound`, which names the launch plans that exist.
    """
    table = tables.launch_plans.c
    here = sa.and_(table.project == scope.project, table.domain == scope.domain)
    query = sa.select(table.body).where(here, table.name == name)
    if version is not None:
        query = query.where(table.version == version)
    body = await session.scalar(query.order_by(table.id.desc()).limit(1))
    plan = None if body is None else models.read(LaunchPlan, body)
    if plan is None or plan.workflow != workflow:
        suffix = f" version {version}" if version is not None else ""
        noun = f"launch plan of workflow {workflow}{suffix}"
        raise NotFound(noun, name, await _known_names(session, table.name, here))
    return plan


async def _known_names(
    session: AsyncSession, column: sa.ColumnElement[str], where: sa.ColumnElement[bool]
) -> str:
    names = await session.scalars(sa.select(column).where(where).distinct().limit(20))
    return ", ".join(sorted(names))


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
    if models.read(type(item), stored) != item:
        noun = table.name.removesuffix("s").replace("_", " ")
        raise Conflict(
            f"{noun} {item.name!r} version {version!r} is registered with different content; "
            "register the change as a new version"
        )
    return False
