"""Watches: committed changes as server-sent events, from the revision where a client left off.

Events are read from history, which is complete and in the order of revisions, whichever replica of
admin committed them. A commit of this replica only makes its watches read at once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from trimtab.api.settings import HistoryBody
from trimtab_admin.settings.history import History, HistoryFilter

_HEARTBEAT_SECONDS = 15.0
_POLL_SECONDS = 1.0
"""The delay until a commit of another replica is read."""


async def _always() -> bool:
    return True


class Watches:
    """Serves any number of watches."""

    def __init__(self, history: History, heartbeat_seconds: float = _HEARTBEAT_SECONDS) -> None:
        self._history = history
        self._heartbeat_seconds = heartbeat_seconds
        self._waiting: set[asyncio.Event] = set()
        self._stopped = False

    def wake(self) -> None:
        """Make every watch read history, because something was committed."""
        for event in self._waiting:
            event.set()

    def stop(self) -> None:
        """End every watch; a client resumes at another replica, or here after a restart."""
        self._stopped = True
        self.wake()

    async def events(
        self,
        filter: HistoryFilter,
        start: int,
        is_allowed: Callable[[], Awaitable[bool]] = _always,
    ) -> AsyncIterator[str]:
        """Yield every change after a revision, for as long as the caller is allowed to see them."""
        committed = asyncio.Event()
        self._waiting.add(committed)
        loop = asyncio.get_running_loop()
        revision, last_heartbeat = start, loop.time()
        try:
            while not self._stopped and await is_allowed():
                committed.clear()
                newer = await self._history.newer(filter, revision)
                for change in newer.changes:
                    yield _event(change)
                revision = newer.searched
                if newer.changes or loop.time() - last_heartbeat >= self._heartbeat_seconds:
                    last_heartbeat = loop.time()
                    yield _heartbeat(revision)
                if newer.are_all:
                    await self._wait(committed)
        finally:
            self._waiting.discard(committed)

    async def _wait(self, committed: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(min(_POLL_SECONDS, self._heartbeat_seconds)):
                await committed.wait()
        except TimeoutError:
            return


def _event(change: HistoryBody) -> str:
    return f"id: {change.revision}\nevent: change\ndata: {change.model_dump_json()}\n\n"


def _heartbeat(revision: int) -> str:
    """Return a message without an event that moves the revision at which the client resumes."""
    return f": heartbeat\nid: {revision}\n\n"
