"""SQLite's log of writes is put away, so that commits do not wait for the disk."""

import asyncio
import logging

from trimtab.errors import Unavailable
from trimtab_admin.storage.database import Sessions, checkpoint

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 1.0


class Checkpoints:
    """On PostgreSQL there is nothing to do."""

    def __init__(self, reading: Sessions) -> None:
        self._reading = reading

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await checkpoint(self._reading)
            except Unavailable as error:
                log.warning("database.no_checkpoint", extra={"error": str(error)})
            await asyncio.sleep(_PAUSE_SECONDS)
