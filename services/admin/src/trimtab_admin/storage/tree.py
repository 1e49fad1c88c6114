"""The settings in memory, from which every read is answered."""

import asyncio
import gc
import logging
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.errors import TrimtabError
from trimtab.messages import parsing, subjects
from trimtab.messages.events import Event, LaterChange, RecordChanged
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin import slices
from trimtab_admin.storage import outbox
from trimtab_admin.storage.database import Sessions, allow_idle, transaction
from trimtab_admin.storage.record_index import RecordIndex

log = logging.getLogger(__name__)

_ATTRIBUTES = subjects.ALL_ATTRIBUTES.removesuffix(">")
_FOLLOW_SECONDS = 1.0
"""How often the settings are updated while no call reads them."""
_LOAD_SECONDS = 120.0
"""More than it takes to load a hundred thousand records on a busy machine."""
_FREEZE_CHANGES = 5_000


class _Check:
    """A check of the revision in the database, shared by all calls that came before it began."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.succeeded = False
        self.error: TrimtabError | None = None


class _Held:
    """The settings, and the index of their records."""

    def __init__(self, settings: Settings | None = None, index: RecordIndex | None = None) -> None:
        self.settings = settings or Settings()
        self.index = index or RecordIndex()
        self._applied = 0

    def copy(self) -> "_Held":
        """Return a copy that changes on its own; the records, which never change, are shared."""
        return _Held(self.settings.copy(), self.index.copy())

    def apply(self, event: Event, revision: int, parsed: Record | None = None) -> None:
        self.settings.apply(event, revision, parsed)
        if isinstance(event, RecordChanged):
            change = self.index.drop if event.document is None else self.index.put
            change(event.kind, event.scope)
        elif isinstance(event, LaterChange) and event.subject.startswith(_ATTRIBUTES):
            kind, scope = subjects.parse_attributes(event.subject)
            is_listed = scope in self.settings.unreadable.get(kind, {})
            (self.index.put if is_listed else self.index.drop)(kind, scope)
        self._applied += 1
        if self._applied % _FREEZE_CHANGES == 0:
            # The settings are millions of objects that stay. The garbage collector would look at
            # all of them again and again, for half a second each time.
            gc.freeze()


class Prepared(NamedTuple):
    """The settings as they are after a commit, made before it."""

    base: _Held
    before: int
    """The revision that the commit is based on."""
    held: _Held


class Tree:
    """Holds the settings in memory and updates them from the database.

    One number, the revision in the database, shows whether the settings in memory are current.
    Where many changes are missing, they are applied in slices, and a read that needs the settings
    waits until they are complete.
    """

    def __init__(self) -> None:
        self._held = _Held()
        self._checking = asyncio.Lock()
        self._next: _Check | None = None
        """The check that has not begun yet."""
        self._advancing = asyncio.Lock()
        """Held while changes are applied."""
        self._is_loading = True

    @property
    def unverified(self) -> Settings:
        """The settings in memory, which other processes may have changed since."""
        return self._held.settings

    @property
    def index(self) -> RecordIndex:
        """The index of the records of `unverified`."""
        return self._held.index

    @property
    def is_loading(self) -> bool:
        """Whether the settings have not been read from the database yet, or are read again."""
        return self._is_loading

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
                return await self._complete()
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
        held = self._held
        before = held.settings.revision
        if await outbox.fetch_current_revision(reading) != before:
            # The revision and the newer rows have to come from the same transaction.
            async with transaction(reading) as session:
                stored = await outbox.current_revision(session)
                if stored < before:
                    await self._reload(session, held)
                else:
                    await self._catch_up(session, stored)
        self._is_loading = False

    async def current(self, session: AsyncSession) -> Settings:
        """Return settings that hold everything committed that the transaction sees.

        The settings are shared: the caller must be done with them before its next ``await``, or
        hold the lock of `trimtab_admin.storage.outbox.lock`.
        """
        # They may be newer than what the transaction sees, which began before.
        await self._catch_up(session, await outbox.current_revision(session))
        return await self._complete()

    async def locked(self, session: AsyncSession) -> Settings:
        """Take the lock of all writes for a transaction, and return the current settings."""
        stored = await outbox.lock(session)
        held = self._held
        if stored < held.settings.revision:
            await self._reload(session, held)
        else:
            await self._catch_up(session, stored)
        return await self._complete()

    async def prepare(self, writes: Sequence[outbox.Write], before: int) -> Prepared | None:
        """Apply many writes, which are about to be committed, to a copy of the settings.

        Reads are served from the settings as they are, and none has to wait after the commit.
        Return ``None`` where the writes are few, or based on other settings.
        """
        base = self._held
        if len(writes) <= slices.SIZE or base.settings.revision != before:
            return None
        held, revision = base.copy(), before
        async for part in slices.of(writes):
            for write in part:
                revision += 1
                held.apply(write.event, revision, write.record)
        return Prepared(base, before, held)

    async def apply(
        self, writes: Sequence[outbox.Write], before: int, prepared: Prepared | None = None
    ) -> None:
        """Apply writes that were committed after the revision ``before``, without reading them.

        ``prepared`` is what `prepare` returned for them.
        """
        if prepared is not None and self._is_current(prepared):
            self._held = prepared.held
            return
        async with self._advancing:
            for start in range(0, len(writes), slices.SIZE):
                if start:
                    await slices.turn()
                part = writes[start : start + slices.SIZE]
                for number, write in enumerate(part, before + start + 1):
                    # Another task may have read some of them from the database in the meantime.
                    if number == self._held.settings.revision + 1:
                        self._held.apply(write.event, number, write.record)

    def _is_current(self, prepared: Prepared) -> bool:
        is_base = prepared.base is self._held
        return is_base and self._held.settings.revision == prepared.before

    async def _complete(self) -> Settings:
        """Return the settings when no transaction is shown in part."""
        while self._advancing.locked():
            async with self._advancing:
                pass
        return self._held.settings

    async def _catch_up(self, session: AsyncSession, stored: int) -> None:
        """Apply the changes up to a revision, which the transaction sees."""
        if stored <= self._held.settings.revision:
            return
        await self._await_turn(session)
        async with self._advancing:
            while (before := self._held.settings.revision) < stored:
                up_to = min(stored, before + slices.SIZE)
                rows = await outbox.changes_between(session, before, up_to) if before else ()
                if len(rows) < up_to - before:
                    # Nothing is held yet, or rows that were published long ago have been deleted.
                    await self._load(session)
                    return
                await slices.turn()
                for number, subject, body in rows:
                    # In the meantime, a commit may have been shown that was prepared.
                    if number > self._held.settings.revision:
                        self._held.apply(parsing.stored_setting(subject, body), number)

    async def _reload(self, session: AsyncSession, replaced: _Held) -> None:
        """Load an older database than the one that the settings are from."""
        await self._await_turn(session)
        async with self._advancing:
            if self._held is replaced:
                await self._load(session)

    async def _load(self, session: AsyncSession) -> None:
        self._is_loading = True
        loaded = _Held()
        loaded.settings.revision = await outbox.load(session, loaded.apply)
        gc.freeze()
        self._held = loaded
        self._is_loading = False

    async def _await_turn(self, session: AsyncSession) -> None:
        """Let the transaction be idle while another task loads the settings."""
        if self._advancing.locked():
            await allow_idle(session, _LOAD_SECONDS)


class Following:
    """Keeps the settings in memory nearly current, so that no read has to load them."""

    def __init__(self, tree: Tree, reading: Sessions) -> None:
        self._tree = tree
        self._reading = reading

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                await self._tree.latest(self._reading)
            except TrimtabError as error:
                # Each read fails with this error, and `/readyz` shows it.
                log.debug("settings.not_read", extra={"error": str(error)})
            await asyncio.sleep(_FOLLOW_SECONDS)
