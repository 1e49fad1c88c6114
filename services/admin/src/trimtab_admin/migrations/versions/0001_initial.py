"""Create settings, outbox, history, workflows, launch plans, executions and execution events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NAME = sa.String(200)
_SUBJECT = sa.String(2048)
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _settings()
    _registered("workflows", "workflow_version")
    _registered("launch_plans", "launch_plan_version")
    _executions()


def _settings() -> None:
    one_row = op.create_table(
        "revision",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="one_row"), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(one_row, [{"id": 1, "value": 0}])
    op.create_table(
        "settings",
        sa.Column("subject", _SUBJECT, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False, unique=True),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "outbox",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("commit_revision", sa.BigInteger, nullable=False),
        sa.Column("subject", _SUBJECT, nullable=False),
        sa.Column("event_id", sa.String(36), nullable=False, unique=True),
        sa.Column("event_type", sa.String(100), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("traceparent", sa.String(60), nullable=False),
        sa.Column("sent_at", _MOMENT),
        sa.Index("outbox_unsent", "sent_at", "revision"),
    )
    op.create_table(
        "history",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("subject", _SUBJECT, nullable=False),
        sa.Column("actor", _NAME, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.Column("request_id", _NAME, nullable=False),
        sa.Column("trace_id", sa.String(32), nullable=False),
        sa.Index("history_subject", "subject", "revision"),
    )


def _registered(table: str, unique: str) -> None:
    op.create_table(
        table,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("project", _NAME, nullable=False),
        sa.Column("domain", _NAME, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.UniqueConstraint("project", "domain", "name", "version", name=unique),
    )


def _executions() -> None:
    op.create_table(
        "executions",
        sa.Column("id", sa.String(63), primary_key=True),
        sa.Column("project", _NAME, nullable=False),
        sa.Column("domain", _NAME, nullable=False),
        sa.Column("workflow", _NAME, nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("launch_plan", _NAME, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("traceparent", sa.String(60), nullable=False),
        sa.Column("requested_in", sa.String(100)),
        sa.Column("phase", sa.String(20), nullable=False),
        sa.Column("output", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Index("executions_by_place", "project", "domain", "created_at"),
        sa.Index("executions_by_phase", "phase"),
    )
    op.create_table(
        "execution_events",
        sa.Column("execution", sa.String(63), primary_key=True),
        sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text, nullable=False),
    )
