"""Slots: the units of ``max_parallelism``, counted by the owner of an execution."""

import asyncio
from collections import deque


class Slots:
    """The slots of one execution.

    An attempt takes a slot before `NodeStarting` is appended, and releases it after its outcome is.
    An adopted attempt takes one too, even beyond the limit.
    """

    def __init__(self, limit: int | None) -> None:
        """``limit`` is ``None`` where any number of attempts may run at once."""
        self._limit = limit
        self._taken: set[str] = set()
        self._waiters: deque[asyncio.Future[None]] = deque()

    def take(self, attempt: str) -> None:
        """Take a slot, even if there is none left: the attempt may be running already."""
        self._taken.add(attempt)

    def has_room_for(self, attempt: str) -> bool:
        """Return whether the attempt has a slot, or can take one now."""
        taken = self._taken
        return self._limit is None or attempt in taken or len(taken) < self._limit

    def release(self, attempt: str) -> None:
        """Release the attempt's slot, if it has one, and wake who waits for it."""
        self._taken.discard(attempt)
        self.wake()

    def wake(self) -> None:
        """Wake as many waiters as there are free slots, the first ones first.

        A waiter that does not take the slot that it was woken for calls this.
        """
        free = len(self._waiters) if self._limit is None else self._limit - len(self._taken)
        while free > 0 and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1

    async def wait_for_room(self) -> None:
        """Wait until a slot was free. Another attempt may have taken it since."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self.wake()
            raise
