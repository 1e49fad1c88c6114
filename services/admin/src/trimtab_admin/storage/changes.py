"""Writes of settings: what waits is judged one after the other and stored as one batch.

A batch is one transaction of the database: the changes, their history and their outbox rows. To
readers each request in it stays a transaction of its own.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.errors import Invalid, Rejected, Unavailable
from trimtab.messages.events import DomainChanged, Event, ProjectChanged
from trimtab.runtime import telemetry
from trimtab.settings import namespaces
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin import metrics, slices
from trimtab_admin.steps import Steps
from trimtab_admin.storage import commits, namespace_names, overlays
from trimtab_admin.storage.commits import Transaction
from trimtab_admin.storage.database import Sessions, allow_idle, transaction
from trimtab_admin.storage.outbox import Author, OutboxRow, Write
from trimtab_admin.storage.tree import Prepared, Tree

MAX_EVENT_BYTES = 900 * 1024
"""NATS rejects messages over 1 MiB, headers included, so the relay could never publish them."""
MAX_BATCH = 64
"""The most requests of one batch."""
MAX_BATCH_WRITES = 500
"""A batch with so many changes gets no further request."""

_TRIES = (False, True, True, True)
"""Whether the settings of each try are verified to be current. These tries do not hold the lock.

The first try uses the settings in memory as they are: they are nearly always current, and storing
the batch verifies that. After these tries the lock is taken, because otherwise other writers could
come between the read and the write indefinitely.
"""
_LONG_SECONDS = 0.5
"""A batch that takes longer to judge is judged only once more, under the lock."""
_ENOUGH = 8
"""So many callers share the cost of a batch well enough: it waits for no more."""
_REJOIN_SHARE = 0.25
_MOST_REJOIN_SECONDS = 0.002
"""The callers of a batch may join the next one for a quarter of its time, at most for so long."""
_TURN_SECONDS = 20.0
_MARGIN = 3.0
"""A batch may take so many times as long under the lock as it took in the last try."""

T = TypeVar("T")


@dataclass
class Change:
    """The writes of one request, and the settings that they are based on."""

    settings: Settings
    """Everything that was committed before, and the requests before this one in its batch."""
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

    def add(
        self, subject: str, event: Event, *, deleted: bool = False, record: Record | None = None
    ) -> int:
        """Return the revision that the write gets when the batch commits.

        ``record`` is what the event's document was parsed to. Raises `Invalid` where the event is
        too large to be published.
        """
        write = Write(subject, event, deleted, record)
        size = len(write.text.encode())
        if size > MAX_EVENT_BYTES:
            raise Invalid("document", f"{size} bytes", f"at most {MAX_EVENT_BYTES} bytes")
        self.writes.append(write)
        self.affects_namespaces |= isinstance(event, ProjectChanged | DomainChanged)
        return self.revision


AddWrites = Callable[[Change], Steps[T]]
"""Adds the writes of a request to a change, in slices; its error refuses the request."""


class _Outdated(Exception):
    """The settings advanced while a request was judged on them."""


@dataclass(eq=False)
class _Request:
    """A caller that waits for its turn and then for its result."""

    add_writes: AddWrites[Any]
    author: Author
    traceparent: str
    outcome: asyncio.Future[Any]
    is_taken: bool = False

    def give_up(self) -> None:
        """Stop waiting for the turn."""
        if not self.is_taken:
            self.fail(Unavailable("the writes before this one have not ended in time"))

    def fail(self, error: Exception) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)

    def answer(self, result: object) -> None:
        # A caller that was cancelled has cancelled its outcome.
        if not self.outcome.done():
            self.outcome.set_result(result)


@dataclass
class _Judged:
    """A request with what it changes, or with the error that refuses it."""

    request: _Request
    change: Change
    result: object = None
    error: Exception | None = None

    def answer(self) -> None:
        if self.error is None:
            self.request.answer(self.result)
        else:
            self.request.fail(self.error)


@dataclass
class _Batch:
    """Requests that were judged one after the other, each with the ones before it in effect."""

    settings: Settings
    """The committed settings that the batch is based on."""
    before: int
    judged: list[_Judged] = field(default_factory=list)
    took: float = 0.0
    """How long it took to judge them, in seconds."""
    _latest: Settings = field(init=False)
    """The settings with the changes of requests that are in effect already."""
    _in_effect: int = 0

    def __post_init__(self) -> None:
        self._latest = self.settings

    @property
    def writes(self) -> list[Write]:
        return [write for judged in self.judged for write in judged.change.writes]

    @property
    def transactions(self) -> list[Transaction]:
        return [
            Transaction(judged.change.writes, judged.request.author, judged.request.traceparent)
            for judged in self.judged
            if judged.change.writes
        ]

    @property
    def affects_namespaces(self) -> bool:
        return any(judged.change.affects_namespaces for judged in self.judged)

    def next_change(self) -> Change:
        """Return an empty change of the settings, with all requests so far in effect."""
        for judged in self.judged[self._in_effect :]:
            change = judged.change
            if change.writes and self._latest is self.settings:
                self._latest = overlays.on_top_of(self.settings)
            for number, write in enumerate(change.writes, change.before + 1):
                self._latest.apply(write.event, number, write.record)
        self._in_effect = len(self.judged)
        return Change(self._latest)

    def answer(self) -> None:
        for judged in self.judged:
            judged.answer()


class _LastBatch(NamedTuple):
    """How many callers there were at the end of the last batch: its own, and those that waited."""

    callers: int = 0
    rejoin_until: float = 0.0
    """Until when the next batch waits for as many."""


class Changes:
    """Commits every change of a setting."""

    def __init__(
        self,
        sessions: Sessions,
        reading: Sessions,
        tree: Tree,
        committed: Callable[[Sequence[OutboxRow]], None],
        namespace_template: str = namespaces.DEFAULT,
    ) -> None:
        """``committed`` is called with the new rows of the outbox."""
        self._sessions = sessions
        self._reading = reading
        self._tree = tree
        self._committed = committed
        self._waiting: deque[_Request] = deque()
        self._last = _LastBatch()
        self._as_many_wait = asyncio.Event()
        """Set when as many callers wait as there were at the end of the last batch."""
        self._writer: asyncio.Task[None] | None = None
        self.namespace_template = namespace_template

    async def commit(self, add_writes: AddWrites[T], author: Author) -> T:
        """Store the writes that ``add_writes`` adds, or nothing where it raises; return its result.

        Callers are served in order. ``add_writes`` is called once for each try. A try stores all
        that waits at once, and only on the revision that it is based on. Only the last try holds
        the lock, because a process that is paused while it holds the lock blocks all other writers.
        """
        loop = asyncio.get_running_loop()
        request = _Request(add_writes, author, telemetry.traceparent(), loop.create_future())
        self._waiting.append(request)
        if len(self._waiting) >= self._last.callers:
            self._as_many_wait.set()
        if self._writer is None or self._writer.done():
            # In no context, because what it does belongs to the traces of several callers.
            self._writer = loop.create_task(self._write_all(), context=Context())
        patience = loop.call_later(_TURN_SECONDS, request.give_up)
        try:
            result: T = await request.outcome
            return result
        finally:
            patience.cancel()

    async def _write_all(self) -> None:
        """Write until no request waits."""
        loop = asyncio.get_running_loop()
        taken: list[_Request] = []
        try:
            while self._waiting:
                await self._wait_for_callers()
                taken, began = self._take(), loop.time()
                error = await self._try_to_write(taken)
                ended = loop.time()
                seconds = min(_REJOIN_SHARE * (ended - began), _MOST_REJOIN_SECONDS)
                callers = min(len(taken) + len(self._waiting), _ENOUGH)
                self._last = _LastBatch(callers, ended + seconds)
                if isinstance(error, Rejected) and len(taken) > 1:
                    # The database cannot store a value: that must refuse only the one who sent it.
                    for request in taken:
                        _fail([request], await self._try_to_write([request]))
                _fail(taken, error)
        finally:
            for request in (*taken, *self._waiting):
                request.outcome.cancel()

    async def _wait_for_callers(self) -> None:
        """Let callers join the batch: those that are ready, and those of the last batch.

        The latter often call again as soon as they have their results. One after the other, each
        would get a batch of its own.
        """
        await asyncio.sleep(0)
        seconds = self._last.rejoin_until - asyncio.get_running_loop().time()
        if seconds <= 0 or len(self._waiting) >= self._last.callers:
            return
        self._as_many_wait.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._as_many_wait.wait()

    async def _try_to_write(self, taken: list[_Request]) -> Exception | None:
        """Return the error that nothing was stored for."""
        try:
            await self._write(taken)
        except _Outdated:
            return Unavailable("the database ended the lock while the changes were judged")
        except Exception as error:  # noqa: BLE001  # Every caller gets it, and later ones go on.
            return error
        return None

    def _take(self) -> list[_Request]:
        taken: list[_Request] = []
        while self._waiting and len(taken) < MAX_BATCH:
            request = self._waiting.popleft()
            # A caller may have given up, or have been cancelled.
            if not request.outcome.done():
                taken.append(request)
        return taken

    def _put_back(self, requests: Sequence[_Request]) -> None:
        for request in reversed(requests):
            request.is_taken = False
            self._waiting.appendleft(request)

    async def _write(self, taken: list[_Request]) -> None:
        """Store as many of the requests as make a batch, and answer them; put back the others."""
        batch = None
        for verified in _TRIES if taken else ():
            try:
                batch = await self._judge(await self._read(verified), taken)
            except _Outdated:
                batch = None
                continue
            if batch.affects_namespaces:
                break
            if await self._store_at_once(batch, verified):
                batch.answer()
                return
            if batch.took > _LONG_SECONDS:
                break
        if taken:
            await self._write_under_lock(taken, batch)

    async def _read(self, verified: bool) -> Settings:
        return await self._tree.latest(self._reading) if verified else self._tree.unverified

    async def _judge(self, settings: Settings, taken: list[_Request]) -> _Batch:
        """Judge requests one after the other; put back those that are for a later batch.

        Raises `_Outdated` where the settings advance meanwhile.
        """
        # Since an earlier try, some may have given up, and their callers expect no effect.
        taken[:] = [request for request in taken if not request.outcome.done()]
        batch = _Batch(settings, settings.revision)
        began = time.monotonic()
        for request in taken:
            request.is_taken = True
            judged, is_alone = await self._judge_next(batch, request)
            if judged is None:
                break
            batch.judged.append(judged)
            if is_alone or len(batch.writes) >= MAX_BATCH_WRITES:
                break
        batch.took = time.monotonic() - began
        self._put_back(taken[len(batch.judged) :])
        del taken[len(batch.judged) :]
        return batch

    async def _judge_next(self, batch: _Batch, request: _Request) -> tuple[_Judged | None, bool]:
        """Judge one more request; return ``None`` where it is for a later batch.

        Also return whether it is to be alone in its batch, because it takes long or is stored with
        the names of namespaces.
        """
        change, is_alone, is_first = batch.next_change(), False, not batch.judged
        judged = _Judged(request, change)
        steps = request.add_writes(change)
        try:
            try:
                next(steps)
            except StopIteration as end:
                judged.result = end.value
            else:
                is_alone = True
                if is_first:
                    judged.result = await slices.run(steps, lambda: self._check(batch))
                steps.close()
        except _Outdated:
            raise
        except Exception as error:  # noqa: BLE001  # It refuses only its own request.
            return _Judged(request, batch.next_change(), error=error), is_alone
        is_alone |= change.affects_namespaces
        return (judged if is_first or not is_alone else None), is_alone

    def _check(self, batch: _Batch) -> None:
        """Raise `_Outdated` where the settings have advanced since the batch was begun."""
        if batch.settings.revision != batch.before or self._tree.unverified is not batch.settings:
            raise _Outdated

    async def _store_at_once(self, batch: _Batch, verified: bool) -> bool:
        """Return whether the batch is stored; it is not where others have written since its read.

        A batch without writes counts as stored where its settings were current.
        """
        if not batch.writes:
            return verified or (await self._read(True)).revision == batch.before
        prepared = await self._tree.prepare(batch.writes, batch.before)
        rows = await commits.store_if_current(self._sessions, batch.before, batch.transactions)
        if rows:
            await self._publish(batch.before, batch.writes, rows, prepared)
        return bool(rows)

    async def _write_under_lock(self, taken: list[_Request], batch: _Batch | None) -> None:
        seconds = min(_MARGIN * batch.took, _TURN_SECONDS) if batch else _TURN_SECONDS
        async with self._holding_lock(seconds) as (session, settings):
            if (
                batch is None
                or batch.settings is not settings
                or (batch.before != settings.revision)
            ):
                batch = await self._judge(settings, taken)
            if batch.affects_namespaces:
                await self._store_namespaces(session, settings, batch.writes)
            await self._commit(session, batch.before, batch.transactions)
        batch.answer()

    @asynccontextmanager
    async def locked(self, author: Author) -> AsyncIterator[Change]:
        """Hold the lock of all writes, and commit the change at the end of the block.

        Nothing is stored where an error leaves the block.
        """
        async with self._holding_lock(0.0) as (session, settings):
            change = Change(settings)
            yield change
            if change.affects_namespaces:
                await self._store_namespaces(session, settings, change.writes)
            made = [Transaction(change.writes, author)] if change.writes else []
            await self._commit(session, change.before, made)

    @asynccontextmanager
    async def _holding_lock(self, seconds: float) -> AsyncIterator[tuple[AsyncSession, Settings]]:
        """Hold the lock for a block, which may take so long between two statements."""
        async with transaction(self._sessions) as session:
            await allow_idle(session, seconds)
            yield session, await self._tree.locked(session)

    async def _store_namespaces(
        self, session: AsyncSession, settings: Settings, writes: Sequence[Write]
    ) -> None:
        computing = namespace_names.compute(settings, writes, self.namespace_template)
        targets = await slices.run(computing)
        await namespace_names.replace(session, targets)

    async def _commit(
        self, session: AsyncSession, before: int, transactions: Sequence[Transaction]
    ) -> None:
        rows = await commits.store(session, before, transactions) if transactions else []
        # Committed here and not at the end of the block, because the next writer begins there and
        # would read the tree without these changes.
        await session.commit()
        await self._publish(before, [write for each in transactions for write in each.writes], rows)

    async def _publish(
        self,
        before: int,
        writes: Sequence[Write],
        rows: Sequence[OutboxRow],
        prepared: Prepared | None = None,
    ) -> None:
        """Show committed changes to the readers of this process and to the relay."""
        await self._tree.apply(writes, before, prepared)
        if rows:
            metrics.count_writes(row.subject for row in rows)
            self._committed(rows)


def _fail(requests: Sequence[_Request], error: Exception | None) -> None:
    if error is not None:
        for request in requests:
            request.fail(error)
