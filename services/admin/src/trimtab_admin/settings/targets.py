"""The workflows and launch plans that are registered: what a change of settings can affect."""

import asyncio
import json
import time
from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.levels import Scope
from trimtab_admin import slices
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import Sessions, transaction

_LATE_ROWS = 200
"""How many rows may be committed after a row with a larger id: far more than concurrent writers."""
_FRESH_SECONDS = 1.0
"""How long a scope that was not found is not looked for again."""


class RegisteredTargets:
    """Caches the scopes of everything registered, whatever its version; nothing is unregistered."""

    def __init__(self) -> None:
        self._scopes: dict[Scope, None] = {}
        self._names: dict[Scope, set[str]] = {}
        """The names of workflows by project-domain, and of launch plans by workflow."""
        self._workflow_id = self._launch_plan_id = 0
        """Ids of the last rows that were read."""
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def current(self, session: AsyncSession) -> list[Scope]:
        """Return workflows, then launch plans; a workflow's default launch plan has no scope."""
        await self._read(session)
        return sorted(self._scopes, key=lambda scope: scope.level)

    async def contain(self, scope: Scope, reading: Sessions) -> bool:
        """Return whether the workflow or the launch plan of the scope is registered.

        For a second, one that another admin has registered may be missing.
        """
        if self._contain(scope):
            return True
        async with self._reading:
            if time.monotonic() - self._read_at > _FRESH_SECONDS:
                async with transaction(reading) as session:
                    await self._read(session)
        return self._contain(scope)

    def names(self, above: Scope) -> Collection[str]:
        """Return the names of the workflows of a project-domain, or the launch plans of a workflow.

        They are those that were there when `contain` was called last.
        """
        return self._names.get(above, ())

    def expire(self) -> None:
        """Have `contain` look again at once, because something was registered."""
        self._read_at = float("-inf")

    def _contain(self, scope: Scope) -> bool:
        is_default = scope.launch_plan == scope.workflow
        return (scope.chain[-2] if is_default else scope) in self._scopes

    async def _read(self, session: AsyncSession) -> None:
        read_at = time.monotonic()
        for id, scope in await _newer(session, tables.workflows, self._workflow_id):
            self._add(scope, scope.workflow)
            self._workflow_id = id
        for id, scope in await _newer(session, tables.launch_plans, self._launch_plan_id):
            self._add(scope, scope.launch_plan)
            self._launch_plan_id = id
        self._read_at = read_at

    def _add(self, scope: Scope, name: str) -> None:
        self._scopes[scope] = None
        self._names.setdefault(scope.chain[-2], set()).add(name)


async def _newer(session: AsyncSession, table: sa.Table, id: int) -> list[tuple[int, Scope]]:
    """Return the scopes of the rows that were added after one with an id, read in slices."""
    found: list[tuple[int, Scope]] = []
    after = id - _LATE_ROWS
    while True:
        await slices.turn()
        rows = (await session.execute(_page(table, after))).all()
        found += [(row.id, _scope(row)) for row in rows]
        if len(rows) < slices.SIZE:
            return found
        after = rows[-1].id


def _page(table: sa.Table, after: int) -> sa.Select[tuple[int, str, str, str, str]]:
    row = table.c
    # The body of a workflow is long, and not needed.
    body = row.body if table is tables.launch_plans else sa.literal("").label("body")
    query = sa.select(row.id, row.domain, row.project, row.name, body)
    return query.where(row.id > after).order_by(row.id).limit(slices.SIZE)


def _scope(row: sa.Row[tuple[int, str, str, str, str]]) -> Scope:
    if not row.body:
        return Scope(row.domain, row.project, row.name)
    return Scope(row.domain, row.project, json.loads(row.body)["workflow"], row.name)
