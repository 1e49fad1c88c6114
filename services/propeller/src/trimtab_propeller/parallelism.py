"""How many nodes of one execution are at work at once, counted by its owner."""

import asyncio


class Places:
    """A place is taken before an attempt is said to start, and given back when its end is said.

    What somebody else has started has a place, though there be none left for it.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._taken: set[str] = set()
        self._changed = asyncio.Event()

    def take(self, attempt: str) -> None:
        """For what is at work already."""
        self._taken.add(attempt)

    def has_room_for(self, attempt: str) -> bool:
        """Whether it has a place, or could take one now."""
        taken = self._taken
        return self._limit is None or attempt in taken or len(taken) < self._limit

    def give_back(self, attempt: str) -> None:
        """Everybody who waits looks again."""
        self._taken.discard(attempt)
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Until something was given back."""
        await self._changed.wait()
