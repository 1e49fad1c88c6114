"""The settings in memory, from which every read is answered."""

import asyncio
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.errors import TrimtabError
from trimtab.messages import events
from trimtab.settings.state import Settings
from trimtab_admin.storage import outbox
from trimtab_admin.storage.database import Sessions, transaction


class _Look:
    """At the database, for everybody who came before it began."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.succeeded = False
        self.error: TrimtabError | None = None


class Tree:
    """Proved current by one number of the database, and brought up to date where it is not."""

    def __init__(self) -> None:
        self._settings = Settings()
        self._looking = asyncio.Lock()
        self._next: _Look | None = None
        """The look that has not begun yet."""

    @property
    def unverified(self) -> Settings:
        """The settings in memory, which other processes may have changed since."""
        return self._settings

    async def latest(self, reading: Sessions) -> Settings:
        """Holds all that was committed before the call; use it up before the next ``await``.

        Calls that come while the database is looked at share the next look, never the one that is
        under way: it may have seen less than they have to. Raises as `transaction`.
        """
        while True:
            look = self._next
            if look is None:
                look = self._next = _Look()
                await self._take(look, reading)
            else:
                await look.over.wait()
            if look.succeeded:
                return self._settings
            if look.error is not None:
                raise look.error
            # Who looked for us was cancelled.

    async def _take(self, look: _Look, reading: Sessions) -> None:
        try:
            async with self._looking:
                # Calls of the same turn of the loop come along.
                await asyncio.sleep(0)
                self._next = None
                await self._look(reading)
                look.succeeded = True
        except TrimtabError as error:
            look.error = error
        finally:
            if self._next is look:
                self._next = None
            look.over.set()

    async def _look(self, reading: Sessions) -> None:
        held = self._settings.revision
        if await outbox.fetch_current_revision(reading) != held:
            # What is newer has to be of one moment.
            async with transaction(reading) as session:
                await self.current(session)

    async def current(self, session: AsyncSession) -> Settings:
        """Holds all that the transaction sees; what is not committed never gets in.

        The tree is shared: use it up before the next ``await``, or hold the lock of
        `trimtab_admin.storage.outbox.lock`.
        """
        # Read before the question, because others may move the tree on while it is answered.
        held = self._settings.revision
        stored = await outbox.current_revision(session)
        return await self._at(session, held, stored)

    async def locked(self, session: AsyncSession) -> Settings:
        """As `current`, for a transaction that will write settings; it has the lock from now on."""
        stored = await outbox.lock(session)
        return await self._at(session, self._settings.revision, stored)

    def take(self, writes: Sequence[outbox.Write], after: int) -> None:
        """What was committed upon that revision, so that nobody has to read it again."""
        for number, write in enumerate(writes, after + 1):
            # Others may have read it meanwhile.
            if number == self._settings.revision + 1:
                self._settings.apply(write.event, number)

    async def _at(self, session: AsyncSession, held: int, stored: int) -> Settings:
        if stored > held:
            await self._catch_up(session, held, stored)
        elif stored < held:
            # The database was replaced by an older one.
            self._settings = await outbox.load(session)
        return self._settings

    async def _catch_up(self, session: AsyncSession, held: int, stored: int) -> None:
        rows = await outbox.changes_between(session, held, stored)
        if len(rows) < stored - held:
            # Rows that were sent long ago are gone.
            loaded = await outbox.load(session)
            if loaded.revision > self._settings.revision:
                self._settings = loaded
            return
        for number, subject, body in rows:
            if number > self._settings.revision:
                self._settings.apply(events.setting(subject, body), number)
