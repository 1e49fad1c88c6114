"""The rows of a table that a caller may see, as a condition of the query.

The database filters, because a page that is filtered after it was cut would have too few items.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from trimtab_admin.access.authorization import Caller, Grant
from trimtab_admin.storage import tables

Columns = Mapping[str, sa.ColumnElement[Any]]
"""Columns by the part of the scope that they hold, and ``kind`` if the rows have a kind.

If the table lacks a column for a part, a grant for one value of that part covers all its rows."""

EXECUTIONS: Columns = {
    name: tables.executions.c[name] for name in ("domain", "project", "workflow", "launch_plan")
}
"""The columns of executions. The launch plan of an execution without one is its workflow."""


def visible_to(caller: Caller, columns: Columns) -> sa.ColumnElement[bool]:
    """Return the condition that at least one grant of the caller covers the row."""
    grants = [grant for grant in caller.grants if "kind" in columns or not grant.kinds]
    covered = (sa.and_(sa.true(), *_conditions(grant, columns)) for grant in grants)
    return sa.or_(sa.false(), *covered)


def _conditions(grant: Grant, columns: Columns) -> Iterator[sa.ColumnElement[bool]]:
    if grant.kinds:
        yield columns["kind"].in_(sorted(grant.kinds))
    for part in ("domain", "project", "workflow", "launch_plan"):
        value = getattr(grant.scope, part)
        if value and part in columns:
            yield columns[part] == value
