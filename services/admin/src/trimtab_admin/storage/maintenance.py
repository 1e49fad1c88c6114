"""Background tasks that keep the database small: checkpoints and the deletion of old history."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from trimtab.errors import Unavailable
from trimtab_admin.storage import outbox
from trimtab_admin.storage.database import Sessions, checkpoint, transaction
from trimtab_admin.storage.tables import history, history_floor

log = logging.getLogger(__name__)

_CHECKPOINT_SECONDS = 1.0
_RETENTION_SECONDS = 3600.0
"""How often history is searched for changes that are too old."""


class Checkpoints:
    """Checkpoints SQLite's log every second, so that no commit has to wait for the disk.

    On PostgreSQL there is nothing to do.
    """

    def __init__(self, reading: Sessions) -> None:
        self._reading = reading

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                await checkpoint(self._reading)
            except Unavailable as error:
                log.warning("database.checkpoint_failed", extra={"error": str(error)})
            await asyncio.sleep(_CHECKPOINT_SECONDS)


class HistoryRetention:
    """Deletes changes that are older than a number of days.

    The last change of each subject is never deleted, because it names who made the live setting.
    """

    def __init__(self, sessions: Sessions, days: int | None) -> None:
        """``days`` is ``None`` if all history is kept."""
        self._sessions = sessions
        self._days = days

    async def run(self) -> None:
        """Run until cancelled; return at once if all history is kept."""
        while self._days is not None:
            try:
                await self.delete(datetime.now(UTC) - timedelta(days=self._days))
            except Unavailable as error:
                log.warning("history.deletion_failed", extra={"error": str(error)})
            await asyncio.sleep(_RETENTION_SECONDS)

    async def delete(self, before: datetime) -> None:
        """Delete changes that were made before a time. Raises `Unavailable`."""
        row = history.c
        newest = sa.select(sa.func.max(row.revision)).group_by(row.subject)
        # At its start, admin compares the settings file with the last change that the file made.
        declared = newest.where(row.actor == outbox.SETTINGS_FILE_ACTOR)
        async with transaction(self._sessions) as session:
            last = await session.scalar(sa.select(sa.func.max(row.revision)).where(row.at < before))
            if last is None:
                return
            old = history.delete().where(row.revision <= last)
            await session.execute(
                old.where(row.revision.not_in(newest), row.revision.not_in(declared))
            )
            await session.execute(history_floor.update().values(revision=last))
