"""The workflows and launch plans that a change of settings can affect."""

import json

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.levels import Scope
from trimtab_admin.storage import tables

_LATE_ROWS = 200
"""How many rows may be committed after a row with a larger id: far more than concurrent writers."""


class RegisteredTargets:
    """Caches the scopes of everything registered, whatever its version; nothing is unregistered."""

    def __init__(self) -> None:
        self._scopes: dict[Scope, None] = {}
        self._workflow_id = self._launch_plan_id = 0
        """Ids of the last rows that were read."""

    async def current(self, session: AsyncSession) -> list[Scope]:
        """Return workflows, then launch plans; a workflow's default launch plan has no scope."""
        for row in await session.execute(_newer(tables.workflows, self._workflow_id)):
            self._scopes[Scope(row.domain, row.project, row.name)] = None
            self._workflow_id = row.id
        for row in await session.execute(_newer(tables.launch_plans, self._launch_plan_id)):
            workflow = json.loads(row.body)["workflow"]
            self._scopes[Scope(row.domain, row.project, workflow, row.name)] = None
            self._launch_plan_id = row.id
        return sorted(self._scopes, key=lambda scope: scope.level)


def _newer(table: sa.Table, id: int) -> sa.Select[tuple[int, str, str, str, str]]:
    row = table.c
    # The body of a workflow is long, and not needed.
    body = row.body if table is tables.launch_plans else sa.literal("").label("body")
    query = sa.select(row.id, row.domain, row.project, row.name, body)
    return query.where(row.id > id - _LATE_ROWS).order_by(row.id)
