"""Add the tasks of workflows, so that workflows of other files can refer to them."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_NAME = sa.String(200)
_PAGE = 100


def upgrade() -> None:
    table = op.create_table(
        "tasks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("project", _NAME, nullable=False),
        sa.Column("domain", _NAME, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("workflow", _NAME, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.UniqueConstraint("project", "domain", "name", "version", name="task_version"),
    )
    added: set[tuple[str, ...]] = set()
    for workflow in _workflows():
        # Earlier releases took one version of two files with different tasks of one name.
        new = {_key(row): row for row in _tasks(workflow) if _key(row) not in added}
        added.update(new)
        if new:
            op.bulk_insert(table, list(new.values()))


def _key(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in ("project", "domain", "name", "version"))


def _workflows() -> Iterator[sa.Row[Any]]:
    """Yield id, project, domain, name, version and body of each workflow, the oldest first."""
    columns = ("project", "domain", "name", "version", "body")
    stored = sa.table("workflows", sa.column("id"), *map(sa.column, columns))
    after = 0
    while True:
        query = sa.select(stored.c.id, *(stored.c[name] for name in columns))
        query = query.where(stored.c.id > after).order_by(stored.c.id).limit(_PAGE)
        rows = op.get_bind().execute(query).all()
        yield from rows
        if len(rows) < _PAGE:
            return
        after = rows[-1].id


def _tasks(workflow: sa.Row[Any]) -> Iterator[dict[str, str]]:
    body = json.loads(workflow.body)
    code = hashlib.sha256(body["module"].encode()).hexdigest()
    for name, task in body["tasks"].items():
        yield {
            "project": workflow.project,
            "domain": workflow.domain,
            "name": name,
            "version": workflow.version,
            "workflow": workflow.name,
            "body": json.dumps(task),
            "code": code,
        }
