"""Workflows and launch plans: registered once, never changed."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.api.executions import LaunchPlanBody, WorkflowBody
from trimtab.errors import Conflict, Invalid, NotFound
from trimtab.levels import Scope
from trimtab.workflows.graph import LaunchPlan, Workflow
from trimtab_admin.access.rights import Caller, Role
from trimtab_admin.settings.entities import check_active, check_scope
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.tree import Tree
from trimtab_admin.storage.visibility import Columns, seen_by

_MAX_LISTED = 1000

Select = sa.Select[str, str, str]
"""Project, domain and body."""
B = TypeVar("B", WorkflowBody, LaunchPlanBody)


class Workflows:
    """What can be executed."""

    def __init__(self, reading: Sessions, sessions: Sessions, tree: Tree) -> None:
        self._reading = reading
        self._sessions = sessions
        self._tree = tree

    async def register(self, body: WorkflowBody) -> bool:
        """Whether it is new; the same version with the same content again is fine.

        Raises `Invalid`, `NotFound` where there is no such project, domain or pool, and `Conflict`
        where the project is archived or the version has another content.
        """
        workflow = body.workflow
        workflow.check()
        async with transaction(self._sessions) as session:
            settings, scope = await self._tree.current(session), Scope(body.domain, body.project)
            check_scope(settings, scope)
            check_active(settings.projects[body.project])
            for task in workflow.tasks.values():
                if task.pool is not None:
                    settings.pool(task.pool)
            return await _add(session, tables.workflows, scope, workflow, workflow.version)

    async def register_launch_plan(self, body: LaunchPlanBody) -> bool:
        """As `register`; a launch plan has the version of its workflow."""
        plan, scope = body.launch_plan, Scope(body.domain, body.project)
        if plan.name == plan.workflow:
            raise Invalid(
                "launch_plan.name", plan.name, "another name: this is the workflow's default one"
            )
        async with transaction(self._sessions) as session:
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
        """The version asked for, or the newest. Raises `NotFound`."""
        async with transaction(self._reading) as session:
            workflow = await find_workflow(session, scope, name, version)
        return WorkflowBody(project=scope.project, domain=scope.domain, workflow=workflow)

    async def list(self, caller: Caller, project: str, domain: str) -> Sequence[WorkflowBody]:
        """Every version that the caller sees, the newest first."""
        table = tables.workflows
        query = _newest(table, {"workflow": table.c.name}, caller, project, domain)
        return await self._seen(caller, query, _workflow_body)

    async def list_launch_plans(
        self, caller: Caller, project: str, domain: str
    ) -> Sequence[LaunchPlanBody]:
        """Those that the caller sees, the newest first, without the default ones."""
        table = tables.launch_plans
        query = _newest(table, {"launch_plan": table.c.name}, caller, project, domain)
        return await self._seen(caller, query, _launch_plan_body)

    async def _seen(
        self, caller: Caller, query: Select, body_of: Callable[[str, str, str], B]
    ) -> Sequence[B]:
        """As many as are listed at once."""
        found: list[B] = []
        async with transaction(self._reading) as session:
            # The rows do not say all of a scope, so those that the caller does not see still come.
            rows = await session.stream(query)
            async for row in rows:
                body = body_of(*row)
                if caller.may(Role.VIEWER, scope_of(body)):
                    found.append(body)
                if len(found) == _MAX_LISTED:
                    break
        return found


def _newest(table: sa.Table, own: Columns, caller: Caller, project: str, domain: str) -> Select:
    """``own`` is what the rows have of a scope beside their place."""
    place = {"project": table.c.project, "domain": table.c.domain}
    query = sa.select(table.c.project, table.c.domain, table.c.body)
    query = query.where(seen_by(caller, {**place, **own}))
    if project:
        query = query.where(table.c.project == project)
    if domain:
        query = query.where(table.c.domain == domain)
    return query.order_by(table.c.id.desc())


def _workflow_body(project: str, domain: str, body: str) -> WorkflowBody:
    workflow = Workflow.model_validate_json(body)
    return WorkflowBody(project=project, domain=domain, workflow=workflow)


def _launch_plan_body(project: str, domain: str, body: str) -> LaunchPlanBody:
    plan = LaunchPlan.model_validate_json(body)
    return LaunchPlanBody(project=project, domain=domain, launch_plan=plan)


def scope_of(body: WorkflowBody | LaunchPlanBody) -> Scope:
    """Where records of exactly this one would be."""
    if isinstance(body, WorkflowBody):
        return Scope(body.domain, body.project, body.workflow.name)
    plan = body.launch_plan
    return Scope(body.domain, body.project, plan.workflow, plan.name)


async def find_workflow(
    session: AsyncSession, scope: Scope, name: str, version: str | None
) -> Workflow:
    """The version asked for, or the newest. Raises `NotFound`, naming those there are."""
    table = tables.workflows.c
    here = sa.and_(table.project == scope.project, table.domain == scope.domain)
    query = sa.select(table.body).where(here, table.name == name)
    if version is not None:
        query = query.where(table.version == version)
    body = await session.scalar(query.order_by(table.id.desc()).limit(1))
    if body is not None:
        return Workflow.model_validate_json(body)
    column = table.name if version is None else table.version
    where = here if version is None else sa.and_(here, table.name == name)
    known = await _known(session, column, where)
    if version is not None and known:
        raise NotFound(f"version of workflow {name!r}", version, known)
    raise NotFound("workflow", name, known if version is None else "")


async def find_launch_plan(
    session: AsyncSession, scope: Scope, name: str, workflow: str, version: str | None
) -> LaunchPlan:
    """For the workflow's version, or the newest. Raises `NotFound`, naming those there are."""
    table = tables.launch_plans.c
    here = sa.and_(table.project == scope.project, table.domain == scope.domain)
    query = sa.select(table.body).where(here, table.name == name)
    if version is not None:
        query = query.where(table.version == version)
    body = await session.scalar(query.order_by(table.id.desc()).limit(1))
    plan = None if body is None else LaunchPlan.model_validate_json(body)
    if plan is None or plan.workflow != workflow:
        of = f" version {version}" if version is not None else ""
        what = f"launch plan of workflow {workflow}{of}"
        raise NotFound(what, name, await _known(session, table.name, here))
    return plan


async def _known(
    session: AsyncSession, column: sa.ColumnElement[str], where: sa.ColumnElement[bool]
) -> str:
    names = await session.scalars(sa.select(column).where(where).distinct().limit(20))
    return ", ".join(sorted(names))


async def _add(
    session: AsyncSession, table: sa.Table, scope: Scope, item: Workflow | LaunchPlan, version: str
) -> bool:
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
    if type(item).model_validate_json(stored) != item:
        what = table.name.removesuffix("s").replace("_", " ")
        raise Conflict(
            f"{what} {item.name!r} version {version!r} is registered with another content; "
            "give what has changed a new version"
        )
    return False
