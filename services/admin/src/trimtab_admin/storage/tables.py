"""admin's own tables, beside those of the settings in `trimtab_admin.storage.outbox`."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from trimtab.messages import subjects
from trimtab_admin.storage import outbox

metadata = outbox.metadata


class Moment(sa.TypeDecorator[datetime]):
    """A time in UTC, also where the database keeps no zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


_NAME = sa.String(200)

history = sa.Table(
    "history",
    metadata,
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("subject", sa.String(subjects.MAX_LENGTH), nullable=False),
    sa.Column("actor", _NAME, nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("before", sa.Text),
    sa.Column("after", sa.Text),
    sa.Column("request_id", _NAME, nullable=False),
    sa.Column("trace_id", sa.String(32), nullable=False),
    # The last revision of the transaction.
    sa.Column("commit_revision", sa.BigInteger, nullable=False, server_default="0"),
    # What the subject says, so that it can be asked for.
    *(
        sa.Column(name, _NAME, nullable=False, server_default="")
        for name in ("kind", "domain", "project", "workflow", "launch_plan")
    ),
    sa.Index("history_subject", "subject", "revision"),
    sa.Index("history_place", "kind", "project", "domain", "revision"),
)
"""Who changed what, when and why; a row for each revision that somebody made."""

history_floor = sa.Table(
    "history_floor",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="one_floor"), primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
)
"""One row: history is complete after this revision."""

namespaces = sa.Table(
    "namespaces",
    metadata,
    sa.Column("name", sa.String(63), primary_key=True),
    # Empty where the template leaves the part out.
    sa.Column("project", _NAME, nullable=False),
    sa.Column("domain", _NAME, nullable=False),
    sa.UniqueConstraint("project", "domain", name="namespace_owner"),
)
"""Which project and domain each namespace is for."""

workflows = sa.Table(
    "workflows",
    metadata,
    # The order of registration: the newest version is the one with the largest number.
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("project", _NAME, nullable=False),
    sa.Column("domain", _NAME, nullable=False),
    sa.Column("name", _NAME, nullable=False),
    sa.Column("version", _NAME, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.UniqueConstraint("project", "domain", "name", "version", name="workflow_version"),
)

launch_plans = sa.Table(
    "launch_plans",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("project", _NAME, nullable=False),
    sa.Column("domain", _NAME, nullable=False),
    sa.Column("name", _NAME, nullable=False),
    # Of the workflow.
    sa.Column("version", _NAME, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.UniqueConstraint("project", "domain", "name", "version", name="launch_plan_version"),
)

executions = sa.Table(
    "executions",
    metadata,
    sa.Column("id", sa.String(63), primary_key=True),
    sa.Column("project", _NAME, nullable=False),
    sa.Column("domain", _NAME, nullable=False),
    sa.Column("workflow", _NAME, nullable=False),
    sa.Column("version", _NAME, nullable=False),
    sa.Column("launch_plan", _NAME, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("traceparent", sa.String(60), nullable=False),
    # The streams, as they were made, in which the execution was requested.
    sa.Column("requested_in", sa.String(100)),
    # What the stored log adds up to.
    sa.Column("phase", sa.String(20), nullable=False),
    sa.Column("output", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Index("executions_by_place", "project", "domain", "created_at"),
    sa.Index("executions_by_phase", "phase"),
)

execution_events = sa.Table(
    "execution_events",
    metadata,
    sa.Column("execution", sa.String(63), primary_key=True),
    sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("body", sa.Text, nullable=False),
)
"""A copy of each execution's log: what serves reads, and what brings a lost log back."""

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.String(20), primary_key=True),
    sa.Column("name", _NAME, nullable=False, unique=True),
    sa.Column("grants", sa.Text, nullable=False),
    sa.Column("secret_hash", sa.String(64), nullable=False),
    sa.Column("old_secret_hash", sa.String(64)),
    sa.Column("old_secret_until", Moment),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("created_by", _NAME, nullable=False),
    sa.Column("expires_at", Moment),
    sa.Column("rotated_at", Moment),
    sa.Column("revoked_at", Moment),
    sa.Column("last_used_at", Moment),
)
"""Who may call. No row is ever deleted: history and the audit trail know tokens by their names."""

audit = sa.Table(
    "audit",
    metadata,
    # SQLite counts up only what it calls an integer.
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("client", _NAME, nullable=False),
    sa.Column("caller", _NAME, nullable=False),
    sa.Column("token", _NAME, nullable=False),
    sa.Column("method", sa.String(20), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("request_id", _NAME, nullable=False),
    sa.Index("audit_at", "at"),
)
"""Calls that were refused, and changes of tokens."""
