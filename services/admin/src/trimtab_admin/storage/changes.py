"""Writes of settings: one transaction is the change, its history and its outbox rows."""

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
from trimtab_admin.access.rights import Caller
from trimtab_admin.storage import names, outbox
from trimtab_admin.storage.database import Sessions, allow_idle, transaction
from trimtab_admin.storage.outbox import Author, Write
from trimtab_admin.storage.tree import Tree

MAX_EVENT_BYTES = 900 * 1024
"""NATS refuses a message over 1 MiB, headers included, and the relay could never get past it."""

_TRIES = (False, True, True, True)
"""Without the lock, each upon settings that are proved current or not: what is held most often is,
and a change that goes through proves it. Then the lock is taken, or others could come between the
reading and the writing for ever."""
_LONG_SECONDS = 0.5
"""A change that takes so long to be made is made only once more, with the lock."""
_TURN_SECONDS = 20.0
_MARGIN = 3.0
"""How much longer than the last time a change may take to be made under the lock."""

T = TypeVar("T")


@dataclass
class Change:
    """A transaction that nobody else's can come between."""

    settings: Settings
    """All that was committed before."""
    caller: Caller
    writes: list[Write] = field(default_factory=list)
    renames: bool = False
    """Whether namespaces may come, or be named otherwise."""
    before: int = field(init=False)
    """The revision that it is made upon. The settings may move on, when others have written."""

    def __post_init__(self) -> None:
        self.before = self.settings.revision

    @property
    def revision(self) -> int:
        """Of the write that was added last."""
        return self.before + len(self.writes)

    def add(self, subject: str, event: Event, *, deleted: bool = False) -> int:
        """The revision that the write gets when the transaction commits.

        Raises `Invalid`, and `Forbidden` where it is not the caller's to make.
        """
        # Here, because nothing is written but by way of this method.
        self.caller.check_change(self.settings, event)
        size = len(event.body())
        if size > MAX_EVENT_BYTES:
            raise Invalid("document", f"{size} bytes", f"at most {MAX_EVENT_BYTES} bytes")
        self.writes.append(Write(subject, event, deleted))
        self.renames = self.renames or isinstance(event, ProjectChanged | DomainChanged)
        return self.revision


class Changes:
    """Where every change of a setting goes through."""

    def __init__(
        self,
        sessions: Sessions,
        reading: Sessions,
        tree: Tree,
        committed: Callable[[], None],
        namespace_template: str = namespaces.DEFAULT,
    ) -> None:
        """``committed`` hears that there are new rows in the outbox."""
        self._sessions = sessions
        self._reading = reading
        self._tree = tree
        self._committed = committed
        self._turns = asyncio.Lock()
        self.namespace_template = namespace_template

    async def commit(self, fill: Callable[[Change], T], author: Author) -> T:
        """Store what is added, or nothing where ``fill`` raises; it is called for every try.

        A change is stored in one go, and only upon the revision that was read. A process that is
        paused holds up nobody, because it does not keep the lock while it thinks.
        """
        took = 0.0
        async with self._turn():
            for proved in _TRIES:
                change = Change(await self._read(proved), author.caller)
                began = time.monotonic()
                try:
                    result = fill(change)
                except TrimtabError:
                    if proved:
                        raise
                    continue
                took = time.monotonic() - began
                if not change.renames and await self._stands(change, author, proved):
                    return result
                if change.renames or took > _LONG_SECONDS:
                    break
            async with self.by(author, min(_MARGIN * took, _TURN_SECONDS)) as change:
                return fill(change)

    async def _read(self, proved: bool) -> Settings:
        return await self._tree.latest(self._reading) if proved else self._tree.held

    async def _stands(self, change: Change, author: Author, proved: bool) -> bool:
        """Whether nobody else has written since it was begun; it is stored then."""
        if not change.writes:
            return proved
        stored = await outbox.store_if_current(self._sessions, change.before, change.writes, author)
        if stored:
            self._take(change)
        return stored

    @asynccontextmanager
    async def by(self, author: Author, seconds: float = 0.0) -> AsyncIterator[Change]:
        """What was added is committed at the end, and nothing where an error leaves the block.

        Until then no other transaction writes settings. ``seconds`` are what the block may take.
        """
        async with transaction(self._sessions) as session:
            await allow_idle(session, seconds)
            change = Change(await self._tree.locked(session), author.caller)
            yield change
            await self._store(session, change, author)
            # Not left to the end of the block: the next writer begins there, and would read it.
            await session.commit()
            self._take(change)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Of the writers of this process, who would only come between each other."""
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._turns.acquire()
        except TimeoutError as error:
            raise Unavailable("the writes that came before have not ended") from error
        try:
            yield
        finally:
            self._turns.release()

    async def _store(self, session: AsyncSession, change: Change, author: Author) -> None:
        if change.renames:
            owners = names.after(change.settings, change.writes, self.namespace_template)
            await names.store(session, owners)
        if change.writes:
            await outbox.store(session, change.before, change.writes, author)

    def _take(self, change: Change) -> None:
        self._tree.take(change.writes, change.before)
        if change.writes:
            metrics.written(write.subject for write in change.writes)
            self._committed()
