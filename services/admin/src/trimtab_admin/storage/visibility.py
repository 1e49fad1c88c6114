"""What a caller sees of a table, as a condition: a page is filtered before it is cut."""

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from trimtab_admin.access.rights import Caller, Grant

Columns = Mapping[str, sa.ColumnElement[Any]]
"""By part of a scope, and ``kind`` where the rows have one. Where a part is missing, a grant of one
such part reaches the rows of all."""


def seen_by(caller: Caller, columns: Columns) -> sa.ColumnElement[bool]:
    """Rows that some grant reaches."""
    grants = [grant for grant in caller.grants if "kind" in columns or not grant.kinds]
    return sa.or_(sa.false(), *(sa.and_(sa.true(), *_reached(grant, columns)) for grant in grants))


def _reached(grant: Grant, columns: Columns) -> Iterator[sa.ColumnElement[bool]]:
    if grant.kinds:
        yield columns["kind"].in_(sorted(grant.kinds))
    for part in ("domain", "project", "workflow", "launch_plan"):
        value = getattr(grant.scope, part)
        if value and part in columns:
            yield columns[part] == value
