"""Runs the migrations on the connection, and in the transaction, of the caller of `upgrade`.

Alembic executes this module.
"""

from alembic import context

from trimtab_admin.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can make most changes of a table only by copying it.
    render_as_batch=True,
)
context.run_migrations()
