"""Reads launch forms: what is registered, with the settings as they are now."""

import asyncio
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab import models
from trimtab.api.launch_forms import LaunchForm
from trimtab.errors import NotFound
from trimtab.levels import Scope
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab_admin import slices
from trimtab_admin.access.authorization import Caller, Role
from trimtab_admin.executions.closures import expand_checked
from trimtab_admin.executions.launch_forms import Page, launch_form
from trimtab_admin.executions.references import find_referenced
from trimtab_admin.executions.versions import find_workflow
from trimtab_admin.settings.entities import check_scope
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.tree import Tree

_PLAN = tables.launch_plans.c


class LaunchForms:
    """Reads the launch forms of workflows and launch plans."""

    def __init__(self, reading: Sessions, tree: Tree) -> None:
        self._reading = reading
        self._tree = tree

    async def of_workflow(
        self, caller: Caller, scope: Scope, name: str, version: str | None, page: Page
    ) -> LaunchForm:
        """Return the form of a version, or of the newest one for ``None``.

        Raises `NotFound`, and `Unreadable` where settings that apply cannot be read.
        """
        async with transaction(self._reading) as session:
            settings = await self._settings(session, scope)
            workflow = await find_workflow(session, scope, name, version, caller)
            registry = await find_referenced(session, workflow)
        plan = LaunchPlan(name=name, workflow=name, version=workflow.version)
        expanded = await asyncio.to_thread(expand_checked, workflow, registry)
        return await slices.run(launch_form(expanded, plan, scope, settings, page))

    async def of_launch_plan(
        self, caller: Caller, scope: Scope, name: str, version: str | None, page: Page
    ) -> LaunchForm:
        """Return the form of a launch plan that the caller may see. Raises as `of_workflow`."""
        async with transaction(self._reading) as session:
            settings = await self._settings(session, scope)
            plan = await _find_plan(session, scope, name, version, caller)
            workflow = await find_workflow(session, scope, plan.workflow, plan.version, caller)
            registry = await find_referenced(session, workflow)
        expanded = await asyncio.to_thread(expand_checked, workflow, registry)
        return await slices.run(launch_form(expanded, plan, scope, settings, page))

    async def _settings(self, session: AsyncSession, scope: Scope) -> Settings:
        settings = await self._tree.current(session)
        check_scope(settings, scope)
        return settings


async def _find_plan(
    session: AsyncSession, scope: Scope, name: str, version: str | None, caller: Caller
) -> LaunchPlan:
    """Return a launch plan. Raises `NotFound`, also for one that the caller may not see.

    Its workflow, and so its scope, is in its body only, so another error would disclose it.
    """
    here = sa.and_(_PLAN.project == scope.project, _PLAN.domain == scope.domain)
    query = sa.select(_PLAN.body).where(here, _PLAN.name == name)
    if version is not None:
        query = query.where(_PLAN.version == version)
    body = await session.scalar(query.order_by(_PLAN.id.desc()).limit(1))
    plan = None if body is None else models.read(LaunchPlan, body)
    if plan is None or not caller.may(Role.VIEWER, _scope_of(plan, scope)):
        suffix = "" if version is None else f" version {version}"
        known: Sequence[str] = ()
        if caller.reaches(scope):
            known = sorted(await session.scalars(sa.select(_PLAN.name).where(here).distinct()))
        raise NotFound.among(f"launch plan{suffix}", name, known)
    return plan


def _scope_of(plan: LaunchPlan, scope: Scope) -> Scope:
    return Scope(scope.domain, scope.project, plan.workflow, plan.name)
