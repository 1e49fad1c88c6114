"""The settings in memory, from which every read is answered."""

import asyncio
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.errors import TrimtabError
from trimtab.messages import events
from trimtab.settings.state import Settings
from trimtab_admin.storage import outbox
from trimtab_admin.storage.database import Sessions, transaction


class _Check:
    """A check of the revision in the database, shared by all calls that came before it began."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.succeeded = False
        self.error: TrimtabError | None = None


class Tree:
    """Holds the settings in memory and updates them from the database.

    One number, the revision in the database, shows whether the settings in memory are current.
    """

    def __init__(self) -> None:
        self._settings = Settings()
        self._checking = asyncio.Lock()
        self._next: _Check | None = None
        """The check that has not begun yet."""

    @property
    def unverified(self) -> Settings:
        """The settings in memory, which other processes may have changed since."""
        return self._settings

    async def latest(self, reading: Sessions) -> Settings:
        """Return settings that hold everything committed before the call.

        The settings are shared: the caller must be done with them before its next ``await``.

        Calls that come during a check share the next one, because the check that is running may
        miss what was committed before they came. Raises what `transaction` raises.
        """
        while True:
            check = self._next
            if check is None:
                check = self._next = _Check()
                await self._run(check, reading)
            else:
                await check.done.wait()
            if check.succeeded:
                return self._settings
            if check.error is not None:
                raise check.error
            # The task that ran the check was cancelled.

    async def _run(self, check: _Check, reading: Sessions) -> None:
        try:
            async with self._checking:
                # Lets the other tasks that are ready to run share this check.
                await asyncio.sleep(0)
                self._next = None
                await self._refresh(reading)
                check.succeeded = True
        except TrimtabError as error:
            check.error = error
        finally:
            if self._next is check:
                self._next = None
            check.done.set()

    async def _refresh(self, reading: Sessions) -> None:
        held = self._settings.revision
        if await outbox.fetch_current_revision(reading) != held:
            # The revision and the newer rows have to come from the same transaction.
            async with transaction(reading) as session:
                await self.current(session)

    async def current(self, session: AsyncSession) -> Settings:
        """Return settings that hold everything committed that the transaction sees.

        The settings are shared: the caller must be done with them before its next ``await``, or
        hold the lock of `trimtab_admin.storage.outbox.lock`.
        """
        # Read before the query, because other tasks may advance the settings during it.
        held = self._settings.revision
        stored = await outbox.current_revision(session)
        return await self._advance(session, held, stored)

    async def locked(self, session: AsyncSession) -> Settings:
        """Take the lock of all writes for a transaction, and return the current settings."""
        stored = await outbox.lock(session)
        return await self._advance(session, self._settings.revision, stored)

    def apply(self, writes: Sequence[outbox.Write], before: int) -> None:
        """Apply writes that were committed after the revision ``before``, without reading them."""
        for number, write in enumerate(writes, before + 1):
            # Another task may have read some of them from the database in the meantime.
            if number == self._settings.revision + 1:
                self._settings.apply(write.event, number)

    async def _advance(self, session: AsyncSession, held: int, stored: int) -> Settings:
        if stored > held:
            await self._catch_up(session, held, stored)
        elif stored < held:
            # The database was replaced by an older one.
            self._settings = await outbox.load(session)
        return self._settings

    async def _catch_up(self, session: AsyncSession, held: int, stored: int) -> None:
        rows = await outbox.changes_between(session, held, stored)
        if len(rows) < stored - held:
            # Rows that were published long ago have been deleted.
            loaded = await outbox.load(session)
            if loaded.revision > self._settings.revision:
                self._settings = loaded
            return
        for number, subject, body in rows:
            if number > self._settings.revision:
                self._settings.apply(events.setting(subject, body), number)
