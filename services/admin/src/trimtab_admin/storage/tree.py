"""The settings in memory, from which every read is answered."""

import asyncio
import gc
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextvars import Context
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from trimtab import kinds
from trimtab.errors import Invalid, TrimtabError
from trimtab.messages import parsing, subjects
from trimtab.messages.events import Event, LaterChange, RecordChanged
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin import slices
from trimtab_admin.storage import outbox, overlays
from trimtab_admin.storage.database import Sessions, allow_idle, transaction
from trimtab_admin.storage.outbox import StoredChange
from trimtab_admin.storage.record_index import RecordIndex

log = logging.getLogger(__name__)

_ATTRIBUTES = subjects.ALL_ATTRIBUTES.removesuffix(">")
_FOLLOW_SECONDS = 1.0
"""How often the settings are updated while no call reads them."""
_LOAD_SECONDS = 120.0
"""More than it takes to load a hundred thousand records on a busy machine."""
_FREEZE_CHANGES = 5_000
AT_ONCE = 1_000
"""The most changes of a transaction that are applied in one go, some milliseconds once they are
parsed. For more, a copy of the settings costs less than the wait."""


class _Check:
    """A check of the revision in the database, shared by all calls that came before it began."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.succeeded = False
        self.is_current = False
        """Whether the settings held everything that was committed when it began."""
        self.error: TrimtabError | None = None


class _Change(NamedTuple):
    """A change that was applied."""

    event: Event
    revision: int
    record: Record | None = None


class _Held:
    """The settings, and the index of their records."""

    def __init__(self, settings: Settings | None = None, index: RecordIndex | None = None) -> None:
        self.settings = settings or Settings()
        self.index = index or RecordIndex()
        self._applied = 0
        self._copies: dict[object, list[_Change]] = {}
        """For each copy that is being made, the changes that were applied since it was begun."""

    @property
    def revision(self) -> int:
        return self.settings.revision

    async def copy(self) -> "_Held":
        """Return a copy that changes on its own, made in slices; records are shared.

        It is equal when it is returned, also where changes were applied in the meantime.
        """
        key, missed = object(), list[_Change]()
        self._copies[key] = missed
        try:
            index = self.index.copy()
            copied = _Held(await slices.run(overlays.copy(self.settings)), index)
            while missed:
                part = missed[: slices.SIZE]
                del missed[: slices.SIZE]
                copied.apply(part)
                if missed:
                    await slices.turn()
        finally:
            del self._copies[key]
        return copied

    def apply(self, changes: Iterable[_Change]) -> None:
        for change in changes:
            self._apply(change)
            for missed in self._copies.values():
                missed.append(change)

    def _apply(self, change: _Change) -> None:
        event = change.event
        self.settings.apply(event, change.revision, change.record)
        if isinstance(event, RecordChanged):
            move = self.index.drop if event.document is None else self.index.put
            move(event.kind, event.scope)
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
    At any time they are those after a whole transaction: a large one is applied to a copy.
    """

    def __init__(self) -> None:
        self._held = _Held()
        self._checking = asyncio.Lock()
        self._next: _Check | None = None
        """The check that has not begun yet."""
        self._advancing = asyncio.Lock()
        """Held while changes are applied, but those of a large commit."""
        self._copying = asyncio.Lock()
        """Held while a large commit is applied to a copy."""
        self._following: asyncio.Task[TrimtabError | None] | None = None
        """Applies a large commit of another process; returns why it could not."""
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

    async def shown(self, reading: Sessions) -> Settings:
        """Return the settings as `latest` does, but without a wait for a large commit.

        While one of another process is applied, they are those before it.
        """
        if self._following is None:
            await self._check(reading)
        return self._held.settings

    async def latest(self, reading: Sessions) -> Settings:
        """Return settings that hold everything committed before the call.

        The settings are shared: the caller must be done with them before its next ``await``.
        Raises what `transaction` raises.
        """
        while not await self._check(reading):
            # The task goes on for others where this caller is cancelled.
            if self._following is not None and (error := await asyncio.shield(self._following)):
                raise error
        return self._held.settings

    async def close(self) -> None:
        """End the work that no caller waits for."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def copy(self) -> Settings:
        """Return settings of this moment or a later one, which do not change any more."""
        return (await self._held.copy()).settings

    async def _check(self, reading: Sessions) -> bool:
        """Compare the settings with the database, and apply what is missing but a large commit.

        Return whether they are current.

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
                return check.is_current
            if check.error is not None:
                raise check.error
            # The task that ran the check was cancelled.

    async def _run(self, check: _Check, reading: Sessions) -> None:
        try:
            async with self._checking:
                # Lets the other tasks that are ready to run share this check.
                await asyncio.sleep(0)
                self._next = None
                check.is_current = await self._refresh(reading)
                self._is_loading = False
                check.succeeded = True
        except TrimtabError as error:
            check.error = error
        finally:
            if self._next is check:
                self._next = None
            check.done.set()

    async def _refresh(self, reading: Sessions) -> bool:
        held = self._held
        before = held.revision
        if self._following is not None:
            return False
        if await outbox.fetch_current_revision(reading) == before:
            return True
        # The revision and the newer rows have to come from the same transaction.
        async with transaction(reading) as session:
            stored = await outbox.current_revision(session)
            if stored < before:
                await self._reload(session, held)
            elif not await self._catch_up(session, stored, with_large=False):
                follow = self._follow(reading)
                # In no context, because it belongs to the trace of no caller.
                self._following = asyncio.create_task(follow, context=Context())
                return False
        return True

    async def _follow(self, reading: Sessions) -> TrimtabError | None:
        """Catch up with a database whose next commit is a large one."""
        try:
            async with transaction(reading) as session:
                await allow_idle(session, _LOAD_SECONDS)
                await self._catch_up(session, await outbox.current_revision(session))
        except TrimtabError as error:
            # The next check finds the same commit and begins again. Until that succeeds, reads show
            # the settings before the commit and do not fail.
            log.warning("settings.outdated", extra={"error": str(error)})
            return error
        finally:
            self._following = None
        return None

    async def current(self, session: AsyncSession) -> Settings:
        """Return settings that hold everything committed that the transaction sees.

        The settings are shared: the caller must be done with them before its next ``await``, or
        hold the lock of `trimtab_admin.storage.outbox.lock`.
        """
        # They may be newer than what the transaction sees, which began before.
        await self._catch_up(session, await outbox.current_revision(session))
        return self._held.settings

    async def locked(self, session: AsyncSession) -> Settings:
        """Take the lock of all writes for a transaction, and return the current settings."""
        stored = await outbox.lock(session)
        held = self._held
        if stored < held.revision:
            await self._reload(session, held)
        else:
            await self._catch_up(session, stored)
        return self._held.settings

    async def prepare(self, writes: Sequence[outbox.Write], before: int) -> Prepared | None:
        """Apply many writes, which are about to be committed, to a copy of the settings.

        Reads are served from the settings as they are, and none has to wait after the commit.
        Return ``None`` where the writes are few, or based on other settings.
        """
        base = self._held
        if len(writes) <= AT_ONCE or base.revision != before:
            return None
        held = await base.copy()
        if held.revision != before:
            return None
        async for part in slices.of(_changes(writes, before)):
            held.apply(part)
        return Prepared(base, before, held)

    async def apply(
        self, writes: Sequence[outbox.Write], before: int, prepared: Prepared | None = None
    ) -> None:
        """Apply writes that were committed after the revision ``before``, without reading them.

        ``prepared`` is what `prepare` returned for them.
        """
        if prepared is None:
            prepared = await self.prepare(writes, before)
        if prepared is not None and self._is_current(prepared):
            self._held = prepared.held
            return
        if len(writes) > AT_ONCE:
            return  # Another task has read them from the database in the meantime.
        async with self._advancing:
            for change in _changes(writes, before):
                # Another task may have read some of them in the meantime.
                if change.revision == self._held.revision + 1:
                    self._held.apply([change])

    def _is_current(self, prepared: Prepared) -> bool:
        return prepared.base is self._held and self._held.revision == prepared.before

    async def _catch_up(
        self, session: AsyncSession, stored: int, *, with_large: bool = True
    ) -> bool:
        """Apply the changes up to a revision, which the transaction sees; return whether all are.

        Without ``with_large``, those before the first large commit are.
        """
        while commit := await self._apply_small(session, stored):
            if not with_large:
                return False
            await self._await_turn(session)
            # Other reads advance meanwhile, as far as to this commit, and need not wait for it.
            async with self._copying:
                if self._held.revision < commit:
                    await self._apply_large(session, commit)
        return True

    async def _apply_small(self, session: AsyncSession, stored: int) -> int:
        """Apply the changes up to a revision, or up to the first large commit.

        Return the last revision of that commit; 0 where there is none.
        """
        if stored <= self._held.revision:
            return 0
        await self._await_turn(session)
        async with self._advancing:
            while (before := self._held.revision) < stored:
                rows = await self._read(session, before, stored)
                if not rows:
                    await self._load(session)
                    return 0
                last = rows[-1].revision
                whole = [row for row in rows if row.commit <= last]
                if not whole:
                    return rows[0].commit
                changes = await _parse(whole)
                # In the meantime, a commit may have been shown that was prepared.
                shown = self._held.revision
                self._held.apply(each for each in changes if each.revision > shown)
        return 0

    async def _read(
        self, session: AsyncSession, before: int, stored: int
    ) -> Sequence[StoredChange]:
        """Return the next changes, at most `AT_ONCE`.

        There are none where nothing is held yet, or where rows that were published long ago have
        been deleted.
        """
        up_to = min(stored, before + AT_ONCE)
        rows = await outbox.changes_between(session, before, up_to) if before else ()
        return rows if len(rows) == up_to - before else ()

    async def _apply_large(self, session: AsyncSession, commit: int) -> None:
        """Apply a transaction to a copy, and show that; load everything where rows are missing."""
        base = self._held
        held = await base.copy()
        while held.revision < commit and self._held is base:
            rows = await self._read(session, held.revision, commit)
            if not rows:
                await self._reload(session, base)
                return
            async for changes in slices.of(await _parse(rows)):
                held.apply(changes)
        # In the meantime, the same commit may have been shown that was prepared.
        if self._held is base:
            self._held = held

    async def _reload(self, session: AsyncSession, replaced: _Held) -> None:
        """Load everything, unless another task has done so since the given settings."""
        await self._await_turn(session)
        async with self._advancing:
            if self._held is replaced:
                await self._load(session)

    async def _load(self, session: AsyncSession) -> None:
        self._is_loading = True
        loaded = _Held()

        def apply(event: Event, revision: int) -> None:
            loaded.apply([_Change(event, revision)])

        loaded.settings.revision = await outbox.load(session, apply)
        gc.freeze()
        self._held = loaded
        self._is_loading = False

    async def _await_turn(self, session: AsyncSession) -> None:
        """Let the transaction be idle while another task loads or copies the settings."""
        if self._advancing.locked() or self._copying.locked():
            await allow_idle(session, _LOAD_SECONDS)


def _changes(writes: Sequence[outbox.Write], before: int) -> Iterator[_Change]:
    for revision, write in enumerate(writes, before + 1):
        yield _Change(write.event, revision, write.record)


async def _parse(rows: Sequence[StoredChange]) -> list[_Change]:
    """Parse changes with their records, which costs more than to apply them, in slices."""
    changes: list[_Change] = []
    async for part in slices.of(rows):
        for row in part:
            event = parsing.stored_setting(row.subject, row.body)
            record = _record(event) if isinstance(event, RecordChanged) else None
            changes.append(_Change(event, row.revision, record))
    return changes


def _record(event: RecordChanged) -> Record | None:
    """Return the record of an event; ``None`` where there is none, or none that is readable."""
    kind = kinds.registered().get(event.kind)
    if kind is None or event.document is None:
        return None
    try:
        return Record.read(kind, event.scope, 0, event.document, event.labels)
    except Invalid:
        return None


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
                # Reads fail with it too and `/readyz` shows it, or it was logged by `_follow`.
                log.debug("settings.not_read", extra={"error": str(error)})
            await asyncio.sleep(_FOLLOW_SECONDS)
