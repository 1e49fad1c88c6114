"""Add the incremental projection of executions, and the idempotency key of their creation.

The projection begins empty. Readers of an execution apply what is not projected of its log, and
`trimtab_admin.executions.projection.CatchUp` projects the logs of earlier releases while admin
runs: how a log is read belongs to the release that runs, and a large table would delay the start.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_NAME = sa.String(200)
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _executions()
    op.create_table(
        "execution_states",
        sa.Column("execution", sa.String(63), primary_key=True),
        sa.Column("log_length", sa.Integer, nullable=False),
        sa.Column("rules", sa.Integer, nullable=False),
        sa.Column("phase", sa.String(20), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("resolution_index", sa.Integer),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Column("log_deleted_at", _MOMENT),
        sa.Index("execution_states_by_end", "log_deleted_at", "updated_at"),
    )
    op.create_table(
        "execution_nodes",
        sa.Column("execution", sa.String(63), primary_key=True),
        sa.Column("node", sa.Text, primary_key=True),
        sa.Column("phase", sa.String(20), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )


def _executions() -> None:
    for column in (
        sa.Column("inputs", sa.Text),
        sa.Column("idempotency_key", _NAME),
        sa.Column("body_hash", sa.String(64)),
    ):
        op.add_column("executions", column)
    by_phase = ["phase", "project", "domain", "created_at"]
    op.drop_index("executions_by_phase", "executions")
    op.create_index("executions_by_phase", "executions", by_phase)
    key = ["project", "domain", "idempotency_key"]
    op.create_index("executions_by_key", "executions", key, unique=True)
