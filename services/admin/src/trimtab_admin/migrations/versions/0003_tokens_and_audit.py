"""Create the tables of API tokens and of the audit trail."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_NAME = sa.String(200)
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(20), primary_key=True),
        sa.Column("name", _NAME, nullable=False, unique=True),
        sa.Column("grants", sa.Text, nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("old_secret_hash", sa.String(64)),
        sa.Column("old_secret_until", _MOMENT),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("created_by", _NAME, nullable=False),
        sa.Column("expires_at", _MOMENT),
        sa.Column("rotated_at", _MOMENT),
        sa.Column("revoked_at", _MOMENT),
        sa.Column("last_used_at", _MOMENT),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("at", _MOMENT, nullable=False),
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
