"""The tasks of registered workflows. Each has the version of its workflow."""

import hashlib
from collections.abc import Collection, Mapping
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab import models
from trimtab.errors import Conflict
from trimtab.levels import Scope
from trimtab.models import Model
from trimtab.workflows.graphs.graph import Interface, Node, Task, Workflow
from trimtab_admin.executions.versions import VersionKey
from trimtab_admin.storage import tables

_ROW = tables.tasks.c
_IN_IMAGE = hashlib.sha256(b"").hexdigest()
"""The code of a workflow without text and bundle."""


class _Code(Model):
    """The fields of a workflow that hold the code of its tasks."""

    module: str = ""
    bundle: str = ""


class StoredTask(NamedTuple):
    """A task, and the workflow that it was registered with first."""

    task: Task
    workflow: str


async def add_tasks(session: AsyncSession, scope: Scope, workflow: Workflow) -> None:
    """Insert the tasks of a new version of a workflow, except for those that are stored already.

    Several workflows of one version share tasks. Raises `Conflict` where the version of a task is
    stored with different content.
    """
    here = sa.and_(_ROW.project == scope.project, _ROW.domain == scope.domain)
    version = _ROW.version == workflow.version
    query = sa.select(_ROW.name, _ROW.body, _ROW.code).where(here, version)
    rows = await session.execute(query.where(_ROW.name.in_(workflow.tasks)))
    stored = {row.name: row for row in rows}
    code, new = _code_of(workflow), []
    for name, task in workflow.tasks.items():
        if name not in stored:
            new.append({"name": name, "body": task.model_dump_json()})
        elif not _is_same(models.read(Task, stored[name].body), stored[name].code, task, code):
            raise Conflict(
                f"task {name!r} version {workflow.version!r} is registered with different content, "
                "by another workflow; rename the task, or register another version"
            )
    if new:
        shared = {"project": scope.project, "domain": scope.domain, "code": code}
        shared |= {"version": workflow.version, "workflow": workflow.name}
        await session.execute(tables.tasks.insert(), [shared | row for row in new])


async def find_tasks(
    session: AsyncSession, keys: Collection[VersionKey]
) -> Mapping[VersionKey, StoredTask]:
    """Return those of the tasks that are registered, by project, domain, name and version."""
    if not keys:
        return {}
    columns = (_ROW.project, _ROW.domain, _ROW.name, _ROW.version)
    query = sa.select(*columns, _ROW.workflow, _ROW.body)
    query = query.where(sa.tuple_(*columns).in_(sorted(keys)))
    return {
        (row.project, row.domain, row.name, row.version): StoredTask(
            models.read(Task, row.body), row.workflow
        )
        for row in await session.execute(query)
    }


def workflow_of(name: str, version: str, task: Task, stored_workflow: str) -> Workflow:
    """Return a workflow of the task and its code only: the stored one may be large."""
    code = models.read(_Code, stored_workflow)
    return Workflow(
        name=name,
        version=version,
        tasks={name: task},
        nodes=(Node(id="n0", task=name, inputs={}),),
        module=code.module,
        bundle=code.bundle,
    )


def _code_of(workflow: Workflow) -> str:
    return workflow.bundle or hashlib.sha256(workflow.module.encode()).hexdigest()


def _is_same(stored: Task, stored_code: str, task: Task, code: str) -> bool:
    """Return whether definition and code are equal.

    Other code may be equal for the task: its digest shows that, also for code in an image.
    """
    is_same_code = stored_code == code
    if stored.digest and task.digest and (not is_same_code or code == _IN_IMAGE):
        is_same_code = stored.digest == task.digest
    return is_same_code and _definition(stored) == _definition(task)


def _definition(task: Task) -> Task:
    """Return what has to be equal: releases differ in the types that they find."""
    return task.model_copy(update={"interface": Interface(), "digest": ""})
