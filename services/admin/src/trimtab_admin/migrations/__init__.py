"""The schema of the database, step by step; applied by admin itself when it starts."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection

_LOCK = 0x7472696D  # "trim"
_LOCK_TIMEOUT = "60s"
"""How long the steps of another admin, which starts at the same time, may take."""


def config(connection: Connection) -> Config:
    """Of Alembic, for a connection whose transaction is the caller's."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Bring the schema to the newest step, within the caller's transaction.

    Of several admins that start at once, one does it and the others wait. Sessions are those of
    `trimtab_admin.storage.database.migrating_sessions_of`.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    command.upgrade(config(connection), "head")
