"""The settings in memory, from which every read is answered."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab import events, outbox
from trimtab.state import Settings


class Tree:
    """Proved current by one number of the database, and brought up to date where it is not."""

    def __init__(self) -> None:
        self._settings = Settings()

    async def current(self, session: AsyncSession) -> Settings:
        """Holds all that the transaction sees; what is not committed never gets in.

        The tree is shared: use it up before the next ``await``, or hold the lock of
        `trimtab.outbox.lock`.
        """
        # Read before the question, because others may move the tree on while it is answered.
        held = self._settings.revision
        stored = (await session.execute(sa.select(outbox.revision.c.value))).scalar_one()
        return await self._at(session, held, stored)

    async def locked(self, session: AsyncSession) -> Settings:
        """As `current`, for a transaction that will write settings; it has the lock from now on."""
        stored = await outbox.lock(session)
        return await self._at(session, self._settings.revision, stored)

    async def _at(self, session: AsyncSession, held: int, stored: int) -> Settings:
        if stored > held:
            await self._catch_up(session, held, stored)
        elif stored < held:
            # The database was replaced by an older one.
            self._settings = await outbox.load(session)
        return self._settings

    async def _catch_up(self, session: AsyncSession, held: int, stored: int) -> None:
        changes = outbox.outbox.c
        query = sa.select(changes.revision, changes.subject, changes.body)
        newer = changes.revision.between(held + 1, stored)
        rows = (await session.execute(query.where(newer).order_by(changes.revision))).all()
        if len(rows) < stored - held:
            # Rows that were sent long ago are gone.
            loaded = await outbox.load(session)
            if loaded.revision > self._settings.revision:
                self._settings = loaded
            return
        for number, subject, body in rows:
            if number > self._settings.revision:
                self._settings.apply(events.setting(subject, body), number)
