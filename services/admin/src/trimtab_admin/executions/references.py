"""Finds what workflows refer to, in a few queries for each depth of references."""

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab import models
from trimtab.errors import Invalid, NotFound
from trimtab.levels import Scope
from trimtab.workflows.graphs.expansion import (
    MAX_DEPTH,
    Referenced,
    ReferenceKey,
    Registry,
    references,
)
from trimtab.workflows.graphs.graph import Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab_admin import slices
from trimtab_admin.access.authorization import Caller, Role
from trimtab_admin.executions.closures import MAX_REFERENCES
from trimtab_admin.executions.registered_tasks import find_tasks, workflow_of
from trimtab_admin.executions.versions import (
    VersionKey,
    distinct,
    find_workflow,
    read_workflow,
)
from trimtab_admin.storage import tables

MAX_REFERENCED_BYTES = 8 * 1024 * 1024
"""The most that their stored texts may have together."""


async def find_referenced(
    session: AsyncSession, workflow: Workflow, registering: Caller | None = None
) -> Registry:
    """Return everything that a workflow refers to, and that those refer to.

    A caller who registers the workflow must be a viewer of what the workflow itself refers to.
    Later it is not checked again, because a registered version never changes. Raises `NotFound`,
    `Forbidden`, and `Invalid` for too many references.
    """
    search, keys = _Search(session), list(dict.fromkeys(references(workflow)))
    for depth in range(MAX_DEPTH + 1):
        if not keys:
            return search.found
        await search.add(keys)
        if registering is not None and depth == 0:
            for key in keys:
                await _check(session, key, search.scopes.get(key), registering)
        keys = search.next_keys(keys)
    raise Invalid("references", workflow.name, f"at most {MAX_DEPTH} workflows in each other")


class _Search:
    """A search, depth by depth, with the versions that were found."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self.found: dict[ReferenceKey, Referenced] = {}
        self.scopes: dict[ReferenceKey, Scope] = {}
        """The scopes of which a caller must be a viewer."""
        self._bytes = 0

    def next_keys(self, keys: Collection[ReferenceKey]) -> list[ReferenceKey]:
        """Return what the found ones of the keys refer to, and what is not found yet."""
        found = [self.found[key] for key in keys if key in self.found and key.type != "task"]
        inner = dict.fromkeys(key for each in found for key in references(each.workflow))
        return [key for key in inner if key not in self.found]

    async def add(self, keys: Collection[ReferenceKey]) -> None:
        """Find those of the keys that are registered. Raises `Invalid` for too many."""
        number = len(self.found) + len(keys)
        if number > MAX_REFERENCES:
            raise Invalid("references", f"{number} references", f"at most {MAX_REFERENCES}")
        await self._add_tasks([key for key in keys if key.type == "task"])
        plans = await self._plans([key for key in keys if key.type == "launch_plan"])
        await self._add_workflows([key for key in keys if key.type != "task"], plans)

    async def _add_tasks(self, keys: Collection[ReferenceKey]) -> None:
        tasks = await find_tasks(self._session, {key[1:] for key in keys})
        workflows = {key: (*key[:2], task.workflow, key[3]) for key, task in tasks.items()}
        texts = await self._texts(tables.workflows, set(workflows.values()))
        async for part in slices.of(tasks.items(), 1):
            for (project, domain, name, version), stored in part:
                key = ReferenceKey("task", project, domain, name, version)
                text = texts[workflows[key[1:]]]
                self.found[key] = Referenced(workflow_of(name, version, stored.task, text))
                self.scopes[key] = Scope(domain, project, stored.workflow)

    async def _plans(self, keys: Collection[ReferenceKey]) -> Mapping[ReferenceKey, LaunchPlan]:
        """Return the launch plans; the default one of a workflow is not stored."""
        texts = await self._texts(tables.launch_plans, {key[1:] for key in keys})
        return {
            key: models.read(LaunchPlan, texts[key[1:]])
            if key[1:] in texts
            else LaunchPlan(name=key.name, workflow=key.name, version=key.version)
            for key in keys
        }

    async def _add_workflows(
        self, keys: Collection[ReferenceKey], plans: Mapping[ReferenceKey, LaunchPlan]
    ) -> None:
        names = {key: plans[key].workflow if key in plans else key.name for key in keys}
        workflows = {key: (*key[1:3], name, key.version) for key, name in names.items()}
        texts = await self._texts(tables.workflows, set(workflows.values()))
        parsed: dict[VersionKey, Workflow] = {}
        for version, text in texts.items():
            parsed[version] = await read_workflow(text)
        for key, workflow in workflows.items():
            if workflow in parsed:
                self.found[key] = Referenced(parsed[workflow], plans.get(key))
                plan = key.name if key.name != names[key] else ""
                self.scopes[key] = Scope(key.domain, key.project, names[key], plan)

    async def _texts(
        self, table: sa.Table, keys: Collection[VersionKey]
    ) -> Mapping[VersionKey, str]:
        """Return the stored texts. Raises `Invalid` before more is read than is allowed."""
        if not keys:
            return {}
        row = table.c
        columns = (row.project, row.domain, row.name, row.version)
        query = sa.select(*columns, row.body).where(sa.tuple_(*columns).in_(sorted(keys)))
        found: dict[VersionKey, str] = {}
        async for project, domain, name, version, body in await self._session.stream(query):
            self._bytes += len(body)
            if self._bytes > MAX_REFERENCED_BYTES:
                allowed = f"workflows of at most {MAX_REFERENCED_BYTES} bytes together"
                raise Invalid("references", f"more than {MAX_REFERENCED_BYTES} bytes", allowed)
            found[project, domain, name, version] = body
        return found


async def _check(
    session: AsyncSession, key: ReferenceKey, found: Scope | None, caller: Caller
) -> None:
    """Raise `Forbidden` or `NotFound` where the caller sees no such version.

    A caller who may not see everything that might have the name is refused whether it exists or
    not. ``found`` is the scope of the version.
    """
    if found is not None and caller.may(Role.VIEWER, found):
        return
    here = Scope(key.domain, key.project)
    if key.type == "workflow":
        caller.check(Role.VIEWER, Scope(key.domain, key.project, key.name))
        await find_workflow(session, here, key.name, key.version, caller)
    caller.check(Role.VIEWER, here)
    table = tables.tasks if key.type == "task" else tables.launch_plans
    noun, row = key.type.replace("_", " "), table.c
    where = sa.and_(row.project == key.project, row.domain == key.domain)
    versions = await distinct(session, row.version, sa.and_(where, row.name == key.name))
    if versions:
        raise NotFound.among(f"version of {noun} {key.name!r}", key.version, versions)
    raise NotFound.among(noun, key.name, await distinct(session, row.name, where))
