"""Add scope and commit to the history, and the tables of its floor and of namespaces."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from trimtab_admin.storage.outbox import subject_columns

revision = "0002"
down_revision = "0001"

_NAME = sa.String(200)
_PLACE = ("kind", "domain", "project", "workflow", "launch_plan")


def upgrade() -> None:
    with op.batch_alter_table("history") as history:
        history.add_column(
            sa.Column("commit_revision", sa.BigInteger, nullable=False, server_default="0")
        )
        for name in _PLACE:
            history.add_column(sa.Column(name, _NAME, nullable=False, server_default=""))
        history.create_index("history_place", ["kind", "project", "domain", "revision"])
    _fill()
    floor = op.create_table(
        "history_floor",
        sa.Column(
            "id", sa.Integer, sa.CheckConstraint("id = 1", name="one_floor"), primary_key=True
        ),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(floor, [{"id": 1, "revision": 0}])
    op.create_table(
        "namespaces",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("project", _NAME, nullable=False),
        sa.Column("domain", _NAME, nullable=False),
        sa.UniqueConstraint("project", "domain", name="namespace_owner"),
    )


def _fill() -> None:
    """Fill the new columns of existing rows.

    Which changes were one transaction was not recorded, so each change becomes its own commit.
    """
    columns = ("revision", "commit_revision", "subject", *_PLACE)
    history = sa.table("history", *(sa.column(name) for name in columns))
    connection = op.get_bind()
    rows = connection.execute(sa.select(history.c.revision, history.c.subject)).all()
    for number, subject in rows:
        values: dict[str, Any] = {"commit_revision": number, **subject_columns(subject)}
        connection.execute(history.update().where(history.c.revision == number).values(values))
