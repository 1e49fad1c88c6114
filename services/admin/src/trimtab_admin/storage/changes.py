"""Writes of settings: one transaction stores the change, its history and its outbox rows."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.errors import Invalid, TrimtabError, Unavailable
from trimtab.messages.events import DomainChanged, Event, ProjectChanged
from trimtab.settings import namespaces
from trimtab.settings.state import Settings
from trimtab_admin import metrics
from trimtab_admin.storage import namespace_names, outbox
from trimtab_admin.storage.database import Sessions, allow_idle, transaction
from trimtab_admin.storage.outbox import Author, Write
from trimtab_admin.storage.tree import Tree

MAX_EVENT_BYTES = 900 * 1024
"""NATS rejects messages over 1 MiB, headers included, so the relay could never publish them."""

_TRIES = (False, True, True, True)
"""Whether the settings of each try are verified to be current. These tries do not hold the lock.

The first try uses the settings in memory as they are: they are nearly always current, and storing
the change verifies that. After these tries the lock is taken, because otherwise other writers could
come between the read and the write indefinitely.
"""
_LONG_SECONDS = 0.5
"""A change that takes longer to make is made only once more, under the lock."""
_TURN_SECONDS = 20.0
_MARGIN = 3.0
"""A change may take so many times as long under the lock as it took in the last try."""

T = TypeVar("T")


@dataclass
class Change:
    """The writes of one transaction, and the settings that they are based on."""

    settings: Settings
    """Everything that was committed before."""
    writes: list[Write] = field(default_factory=list)
    affects_namespaces: bool = False
    """Whether projects or domains change, so that the names of namespaces are stored too."""
    before: int = field(init=False)
    """The revision that the change is based on; `settings` may advance when others write."""

    def __post_init__(self) -> None:
        self.before = self.settings.revision

    @property
    def revision(self) -> int:
        """The revision of the write that was added last."""
        return self.before + len(self.writes)

    def add(self, subject: str, event: Event, *, deleted: bool = False) -> int:
        """Return the revision that the write gets when the transaction commits.

        Raises `Invalid` where the event is too large to be published.
        """
        size = len(event.body())
        if size > MAX_EVENT_BYTES:
            raise Invalid("document", f"{size} bytes", f"at most {MAX_EVENT_BYTES} bytes")
        self.writes.append(Write(subject, event, deleted))
        self.affects_namespaces |= isinstance(event, ProjectChanged | DomainChanged)
        return self.revision


class Changes:
    """Commits every change of a setting."""

    def __init__(
        self,
        sessions: Sessions,
        reading: Sessions,
        tree: Tree,
        committed: Callable[[], None],
        namespace_template: str = namespaces.DEFAULT,
    ) -> None:
        """``committed`` is called when there are new rows in the outbox."""
        self._sessions = sessions
        self._reading = reading
        self._tree = tree
        self._committed = committed
        self._turns = asyncio.Lock()
        self.namespace_template = namespace_template

    async def commit(self, add_writes: Callable[[Change], T], author: Author) -> T:
        """Store the writes that ``add_writes`` adds, or nothing where it raises; return its result.

        ``add_writes`` is called once for each try. A try stores its writes all at once, and only on
        the revision that they are based on. Only the last try holds the lock, because a process
        that is paused while it holds the lock blocks all other writers.
        """
        took = 0.0
        async with self._turn():
            for verified in _TRIES:
                change = Change(await self._read(verified))
                began = time.monotonic()
                try:
                    result = add_writes(change)
                except TrimtabError:
                    if verified:
                        raise
                    continue
                took = time.monotonic() - began
                if change.affects_namespaces:
                    break
                if await self._store_at_once(change, author, verified):
                    return result
                if took > _LONG_SECONDS:
                    break
            async with self.locked(author, min(_MARGIN * took, _TURN_SECONDS)) as change:
                return add_writes(change)

    async def _read(self, verified: bool) -> Settings:
        return await self._tree.latest(self._reading) if verified else self._tree.unverified

    async def _store_at_once(self, change: Change, author: Author, verified: bool) -> bool:
        """Return whether the change is stored; it is not where others have written since its read.

        A change without writes counts as stored where its settings were verified.
        """
        if not change.writes:
            return verified
        stored = await outbox.store_if_current(self._sessions, change.before, change.writes, author)
        if stored:
            await self._publish(change)
        return stored

    @asynccontextmanager
    async def locked(self, author: Author, seconds: float = 0.0) -> AsyncIterator[Change]:
        """Hold the lock of all writes, and commit the change at the end of the block.

        Nothing is stored where an error leaves the block. ``seconds`` is how long the block may
        take.
        """
        async with transaction(self._sessions) as session:
            await allow_idle(session, seconds)
            change = Change(await self._tree.locked(session))
            yield change
            await self._store(session, change, author)
            # Committed here and not at the end of the block, because the next writer begins there
            # and would read the tree without this change.
            await session.commit()
            await self._publish(change)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Let the writers of this process write one after the other: they would only conflict."""
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._turns.acquire()
        except TimeoutError as error:
            raise Unavailable("the writes before this one have not ended in time") from error
        try:
            yield
        finally:
            self._turns.release()

    async def _store(self, session: AsyncSession, change: Change, author: Author) -> None:
        if change.affects_namespaces:
            targets = namespace_names.compute(
                change.settings, change.writes, self.namespace_template
            )
            await namespace_names.replace(session, targets)
        if change.writes:
            await outbox.store(session, change.before, change.writes, author)

    async def _publish(self, change: Change) -> None:
        """Show a committed change to the readers of this process and to the relay."""
        await self._tree.apply(change.writes, change.before)
        if change.writes:
            metrics.count_writes(write.subject for write in change.writes)
            self._committed()
