"""Changes as they are committed, as server-sent events that go on where a client had come to.

They are read from history, which is complete and in the order of revisions, whichever admin made
them; a commit of our own only makes us look at once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from trimtab.api.settings import HistoryBody
from trimtab_admin.storage.past import Past, Which

_HEARTBEAT_SECONDS = 15.0
_LOOK_SECONDS = 1.0
"""How soon the commit of another admin is seen."""
_BATCH = 500


async def _always() -> bool:
    return True


class Feed:
    """Any number of watches."""

    def __init__(self, past: Past, heartbeat_seconds: float = _HEARTBEAT_SECONDS) -> None:
        self.past = past
        self._heartbeat_seconds = heartbeat_seconds
        self._waiting: set[asyncio.Event] = set()
        self._stopped = False

    def changed(self) -> None:
        """Something was committed."""
        for event in self._waiting:
            event.set()

    def stop(self) -> None:
        """End every watch; its client goes on with another admin, or with this one later."""
        self._stopped = True
        self.changed()

    async def events(
        self, which: Which, start: int, still: Callable[[], Awaitable[bool]] = _always
    ) -> AsyncIterator[str]:
        """Everything after a revision, for as long as the caller still may see it."""
        awake = asyncio.Event()
        self._waiting.add(awake)
        loop = asyncio.get_running_loop()
        position, beat = start, loop.time()
        try:
            while not self._stopped and await still():
                awake.clear()
                changes, position = await self.past.newer(which, position, _BATCH)
                for change in changes:
                    yield _event(change)
                if changes or loop.time() - beat >= self._heartbeat_seconds:
                    beat = loop.time()
                    yield _heartbeat(position)
                if len(changes) < _BATCH:
                    await self._wait(awake)
        finally:
            self._waiting.discard(awake)

    async def _wait(self, awake: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(min(_LOOK_SECONDS, self._heartbeat_seconds)):
                await awake.wait()
        except TimeoutError:
            return


def _event(change: HistoryBody) -> str:
    return f"id: {change.revision}\nevent: change\ndata: {change.model_dump_json()}\n\n"


def _heartbeat(position: int) -> str:
    """Without data it is no event, but where the client resumes moves on past what it filtered."""
    return f": heartbeat\nid: {position}\n\n"
