"""Called by Alembic; the connection and its transaction are those of `upgrade`'s caller."""

from alembic import context

from trimtab_admin.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can alter a table only by copying it.
    render_as_batch=True,
)
context.run_migrations()
