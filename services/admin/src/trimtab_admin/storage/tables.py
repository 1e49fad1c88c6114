"""Every table of admin's database. `trimtab_admin.migrations` creates them."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from trimtab.messages import subjects

metadata = sa.MetaData()


class Moment(sa.TypeDecorator[datetime]):
    """A time in UTC, also on a database that stores no time zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


_NAME = sa.String(200)

revision = sa.Table(
    "revision",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="one_row"), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)
"""One row: the current revision. Every write of settings locks it, which orders the writes."""

settings = sa.Table(
    "settings",
    metadata,
    sa.Column("subject", sa.String(subjects.MAX_LENGTH), primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False, unique=True),
    sa.Column("body", sa.Text, nullable=False),
)
"""The live settings, a row for each subject. Watermarks compare every view with them."""

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("commit_revision", sa.BigInteger, nullable=False),
    sa.Column("subject", sa.String(subjects.MAX_LENGTH), nullable=False),
    sa.Column("event_id", sa.String(36), nullable=False, unique=True),
    sa.Column("event_type", sa.String(100), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("traceparent", sa.String(60), nullable=False),
    sa.Column("sent_at", sa.DateTime(timezone=True)),
    sa.Index("outbox_unsent", "sent_at", "revision"),
)
"""Committed changes, which the relay publishes in the order of their revisions."""

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
    # The parts of the subject, so that a query can filter by them.
    *(
        sa.Column(name, _NAME, nullable=False, server_default="")
        for name in ("kind", "domain", "project", "workflow", "launch_plan")
    ),
    sa.Index("history_subject", "subject", "revision"),
    sa.Index("history_scope", "kind", "project", "domain", "revision"),
)
"""Each change: who made it, when and why. A row for each revision, except those of a resync."""

history_floor = sa.Table(
    "history_floor",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="one_floor"), primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
)
"""One row: history is complete for all revisions after this one."""

namespaces = sa.Table(
    "namespaces",
    metadata,
    sa.Column("name", sa.String(63), primary_key=True),
    # Empty if the namespace template does not contain the part.
    sa.Column("project", _NAME, nullable=False),
    sa.Column("domain", _NAME, nullable=False),
    sa.UniqueConstraint("project", "domain", name="namespace_owner"),
)
"""The project and domain that each namespace belongs to."""

workflows = sa.Table(
    "workflows",
    metadata,
    # Grows with each registration: the newest version has the largest id.
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("project", _NAME, nullable=False),
    sa.Column("domain", _NAME, nullable=False),
    sa.Column("name", _NAME, nullable=False),
    sa.Column("version", _NAME, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.UniqueConstraint("project", "domain", "name", "version", name="workflow_version"),
)

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("project", _NAME, nullable=False),
    sa.Column("domain", _NAME, nullable=False),
    sa.Column("name", _NAME, nullable=False),
    # The version of its workflow.
    sa.Column("version", _NAME, nullable=False),
    # The first workflow that was registered with the task; its code is that of the task.
    sa.Column("workflow", _NAME, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    # The SHA-256 of the module's text, or of the bundle.
    sa.Column("code", sa.String(64), nullable=False),
    sa.UniqueConstraint("project", "domain", "name", "version", name="task_version"),
)
"""The tasks of registered workflows, so that a reference finds them."""

launch_plans = sa.Table(
    "launch_plans",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("project", _NAME, nullable=False),
    sa.Column("domain", _NAME, nullable=False),
    sa.Column("name", _NAME, nullable=False),
    # The version of its workflow.
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
    # When the streams were created that the execution was requested in; null before any request.
    sa.Column("requested_in", sa.String(100)),
    # The state that results from the events in `execution_events`, written when the phase changes:
    # SQLite writes a changed row as a whole, with the request.
    sa.Column("phase", sa.String(20), nullable=False),
    sa.Column("output", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    # The inputs of the request; null in rows of releases that read them from the request.
    sa.Column("inputs", sa.Text),
    # What the client sent in `Idempotency-Key`, and a hash of the body that it sent with it.
    sa.Column("idempotency_key", _NAME),
    sa.Column("body_hash", sa.String(64)),
    sa.Index("executions_by_scope", "project", "domain", "created_at"),
    sa.Index("executions_by_phase", "phase", "project", "domain", "created_at"),
    sa.Index("executions_by_key", "project", "domain", "idempotency_key", unique=True),
)

execution_states = sa.Table(
    "execution_states",
    metadata,
    sa.Column("execution", sa.String(63), primary_key=True),
    # How many events of the log the state results from, and by which release's rules.
    sa.Column("log_length", sa.Integer, nullable=False),
    sa.Column("rules", sa.Integer, nullable=False),
    sa.Column("phase", sa.String(20), nullable=False),
    # The state as JSON, without nodes, request and resolution.
    sa.Column("body", sa.Text, nullable=False),
    # The index of the event that holds the resolution; null before the admission.
    sa.Column("resolution_index", sa.Integer),
    # When the last event was appended.
    sa.Column("updated_at", Moment, nullable=False),
    # When the log was deleted from `execution_events`, except for its resolution.
    sa.Column("log_deleted_at", Moment),
    sa.Index("execution_states_by_end", "log_deleted_at", "updated_at"),
)
"""The projection: the state of each execution after the events that were applied. A missing row is
made again from `execution_events`, as long as these are kept."""

execution_nodes = sa.Table(
    "execution_nodes",
    metadata,
    sa.Column("execution", sa.String(63), primary_key=True),
    sa.Column("node", sa.Text, primary_key=True),
    sa.Column("phase", sa.String(20), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
"""The state of each node, as a part of the projection."""

execution_events = sa.Table(
    "execution_events",
    metadata,
    sa.Column("execution", sa.String(63), primary_key=True),
    sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("body", sa.Text, nullable=False),
)
"""A copy of each execution log. It restores the log after its stream is lost."""

api_tokens = sa.Table(
    "api_tokens",
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
"""API tokens. No row is deleted, because history and the audit trail refer to tokens by name."""

audit_trail = sa.Table(
    "audit_trail",
    metadata,
    # SQLite generates values only for a primary key of type INTEGER.
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
    sa.Index("audit_trail_at", "at"),
)
"""The audit trail: refused calls, changes of API tokens, forced releases and confirmed prunes."""
