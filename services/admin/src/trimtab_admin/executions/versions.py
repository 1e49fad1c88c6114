"""The stored versions of workflows and launch plans: adding one, and finding one."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab import models
from trimtab.errors import Conflict, NotFound, Retryable, Unavailable
from trimtab.levels import Scope
from trimtab.workflows.graphs.graph import Graph, Interface, Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab_admin import slices, validation
from trimtab_admin.access.authorization import Caller
from trimtab_admin.storage import tables

G = TypeVar("G", bound=Graph)
T = TypeVar("T")

_TRIES = 5
_BARE_TASK = {"interface": Interface(), "digest": ""}

VersionKey = tuple[str, str, str, str]
"""Project, domain, name and version."""


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
        return await read_workflow(body)
    versions = await distinct(session, table.version, sa.and_(here, table.name == name))
    if version is not None and versions:
        raise NotFound.among(f"version of workflow {name!r}", version, versions)
    workflows = await distinct(session, table.name, here)
    if not caller.reaches(scope):
        workflows = [each for each in workflows if caller.reaches(replace(scope, workflow=each))]
    raise NotFound.among("workflow", name, workflows)


async def read_workflow(text: str) -> Workflow:
    """Return a stored workflow, read in slices: thousands of nodes take a tenth of a second."""
    return await slices.run(validation.read(Workflow, json.loads(text)))


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
        plans = await distinct(session, table.name, here) if caller.reaches(scope) else []
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


async def repeated(store: Callable[[], Awaitable[T]]) -> T:
    """Repeat a transaction while another one has stored the same at that moment: it finds it then.

    Raises what ``store`` raises, and the last `Retryable`.
    """
    for _ in range(_TRIES - 1):
        try:
            return await store()
        except Unavailable:
            raise
        except Retryable:
            continue
    return await store()


async def distinct(
    session: AsyncSession, column: sa.ColumnElement[str], where: sa.ColumnElement[bool]
) -> Sequence[str]:
    return sorted(await session.scalars(sa.select(column).where(where).distinct()))


async def add(
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
    is_workflow = isinstance(item, Workflow)
    found = await read_workflow(stored) if is_workflow else models.read(LaunchPlan, stored)
    if _content(found) != _content(item):
        noun = table.name.removesuffix("s").replace("_", " ")
        raise Conflict(
            f"{noun} {item.name!r} version {version!r} is registered with different content; "
            "register the change as a new version"
        )
    return False


def _content(item: Workflow | LaunchPlan) -> Workflow | LaunchPlan:
    """Return what has to be equal in one version: nothing that depends on the SDK's release."""
    if isinstance(item, LaunchPlan):
        return item
    tasks = {n: task.model_copy(update=_BARE_TASK) for n, task in item.tasks.items()}
    references = {
        name: reference.model_copy(update={"interface": Interface()})
        for name, reference in item.references.items()
    }
    workflows = {name: _untyped(graph) for name, graph in item.workflows.items()}
    fields = {"tasks": tasks, "references": references, "workflows": workflows, "runtime": None}
    return _untyped(item).model_copy(update=fields)


def _untyped(graph: G) -> G:
    return graph.model_copy(update={"input_types": {}, "schemas": {}, "output_schema": {}})
