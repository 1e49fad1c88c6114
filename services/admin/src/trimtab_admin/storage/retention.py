"""History that is older than it has to be kept is deleted."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from trimtab.errors import Unavailable
from trimtab_admin.settings.declared import AUTHOR
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.tables import history, history_floor

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 3600.0


class Retention:
    """Of what lives the last change is kept for ever: it says who wrote it."""

    def __init__(self, sessions: Sessions, days: int | None) -> None:
        self._sessions = sessions
        self._days = days

    async def run(self) -> None:
        """Until cancelled; at once where everything is kept."""
        while self._days is not None:
            try:
                await self.trim(datetime.now(UTC) - timedelta(days=self._days))
            except Unavailable as error:
                log.warning("history.not_trimmed", extra={"error": str(error)})
            await asyncio.sleep(_PAUSE_SECONDS)

    async def trim(self, before: datetime) -> None:
        """Delete changes that were made before."""
        row = history.c
        newest = sa.select(sa.func.max(row.revision)).group_by(row.subject)
        # By this admin tells at its start what the settings file says anew.
        declared = newest.where(row.actor == AUTHOR.actor)
        async with transaction(self._sessions) as session:
            last = await session.scalar(sa.select(sa.func.max(row.revision)).where(row.at < before))
            if last is None:
                return
            old = history.delete().where(row.revision <= last)
            await session.execute(
                old.where(row.revision.not_in(newest), row.revision.not_in(declared))
            )
            await session.execute(history_floor.update().values(revision=last))
