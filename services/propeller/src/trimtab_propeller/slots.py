"""Slots: the units of ``max_parallelism``, counted by the owner of an execution."""

import asyncio


class Slots:
    """The slots of one execution.

    An attempt takes a slot before `NodeStarting` is appended, and releases it after its outcome is.
    An adopted attempt takes one too, even beyond the limit.
    """

    def __init__(self, limit: int | None) -> None:
        """``limit`` is ``None`` where any number of attempts may run at once."""
        self._limit = limit
        self._taken: set[str] = set()
        self._released = asyncio.Event()

    def take(self, attempt: str) -> None:
        """Take a slot, even if there is none left: the attempt may be running already."""
        self._taken.add(attempt)

    def has_room_for(self, attempt: str) -> bool:
        """Return whether the attempt has a slot, or can take one now."""
        taken = self._taken
        return self._limit is None or attempt in taken or len(taken) < self._limit

    def release(self, attempt: str) -> None:
        """Release the attempt's slot, if it has one, and wake all waiters."""
        self._taken.discard(attempt)
        self._released.set()
        self._released = asyncio.Event()

    async def wait_for_release(self) -> None:
        await self._released.wait()
