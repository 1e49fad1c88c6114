"""Rename tables and indexes after the words of docs/glossary.md."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.rename_table("tokens", "api_tokens")
    op.rename_table("audit", "audit_trail")
    _rename_index("audit_trail", "audit_at", "audit_trail_at", ["at"])
    _rename_index(
        "history", "history_place", "history_scope", ["kind", "project", "domain", "revision"]
    )
    _rename_index(
        "executions",
        "executions_by_place",
        "executions_by_scope",
        ["project", "domain", "created_at"],
    )


def _rename_index(table: str, old: str, new: str, columns: list[str]) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER INDEX {old} RENAME TO {new}")
        return
    # SQLite cannot rename an index.
    op.drop_index(old, table)
    op.create_index(new, table, columns)
