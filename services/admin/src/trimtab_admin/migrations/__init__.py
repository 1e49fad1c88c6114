"""The schema of the database, as a sequence of migrations that admin applies when it starts.

A migration is never changed once a database may have it: a new one is added in ``versions``.
"""

import logging
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

log = logging.getLogger(__name__)

_LOCK = 0x7472696D  # "trim"
_LOCK_TIMEOUT = "60s"
"""How long to wait for the migrations of another admin that starts at the same time."""


def config(connection: Connection) -> Config:
    """Return Alembic's configuration for a connection with the caller's transaction."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Apply the missing migrations within the caller's transaction.

    None is applied where a later release has migrated the database, because two releases run side
    by side during an upgrade. If several admins start at once, one migrates and the others wait.
    The connection must come from `trimtab_admin.storage.database.migrating_sessions_of`.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    settings = config(connection)
    if unknown := _unknown_versions(connection, settings):
        log.warning("schema.later_release", extra={"stored": ", ".join(sorted(unknown))})
        return
    command.upgrade(settings, "head")


def _unknown_versions(connection: Connection, settings: Config) -> set[str]:
    """Return the stored versions of the schema that this release has no migration to."""
    stored = MigrationContext.configure(connection).get_current_heads()
    known = {script.revision for script in ScriptDirectory.from_config(settings).walk_revisions()}
    return set(stored) - known
