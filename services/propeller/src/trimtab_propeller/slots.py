"""Slots: the units of ``max_parallelism``, counted by the owner of an execution."""

import asyncio
import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

from trimtab.messages.resolutions import Resolution
from trimtab.workflows.graphs.launch_plans import PlanCall


@dataclass(order=True)
class _Waiter:
    number: int
    """A waiter that came earlier has a lower number."""
    woken: asyncio.Future[None] = field(compare=False)
    passed: list["Slots"] = field(compare=False, default_factory=list)
    """The slots that it has been let through, from the innermost ones outwards."""


class Slots:
    """The slots of one execution, or of a called launch plan in it.

    An attempt takes a slot before `NodeStarting` is appended, and releases it after its outcome is.
    It needs one of its own part, and one of each part around it. An adopted attempt takes them too,
    even beyond the limits.
    """

    def __init__(self, limit: int | None, around: "Slots | None" = None) -> None:
        """``limit`` is ``None`` where any number of attempts may run at once.

        ``around`` are the slots of the part that this one is called in.
        """
        self._limit = limit
        self._around = around
        self._taken: set[str] = set()
        self._waiters: list[_Waiter] = []
        """A heap of those that wait for room here. They have room in all parts inside this one."""
        self._passed = 0
        """The waiters that were let through, and now wait for room further outwards."""
        self._numbers: Iterator[int] = count() if around is None else around._numbers

    def take(self, attempt: str) -> None:
        """Take the slots, even if there are none left: the attempt may be running already."""
        for slots in self._outwards():
            slots._taken.add(attempt)

    def has_room_for(self, attempt: str) -> bool:
        """Return whether the attempt has its slots, or can take them now."""
        return all(
            slots._limit is None or attempt in slots._taken or len(slots._taken) < slots._limit
            for slots in self._outwards()
        )

    def release(self, attempt: str) -> None:
        """Release the attempt's slots, if it has them, and wake who waits for them."""
        for slots in self._outwards():
            slots._taken.discard(attempt)
        self.wake()

    def wake(self) -> None:
        """Wake as many waiters as there are free slots, the first ones first.

        A waiter that does not take the slots that it was woken for calls this.
        """
        for slots in self._outwards():
            slots._let_through()

    async def wait_for_room(self) -> None:
        """Wait until there was a free slot. Another attempt may have taken it since."""
        waiter = _Waiter(next(self._numbers), asyncio.get_running_loop().create_future())
        self._add(waiter)
        try:
            await waiter.woken
        except asyncio.CancelledError:
            if not waiter.woken.cancelled() or waiter.passed:
                _leave(waiter)
                self.wake()
            raise

    def _add(self, waiter: _Waiter) -> None:
        """Let a new waiter wait in the innermost part that has no room for it."""
        for slots in self._outwards():
            if slots._around is None or slots._room() <= 0:
                heapq.heappush(slots._waiters, waiter)
                break
            slots._pass(waiter)
        if slots._around is not None:
            # It may have been woken for room further outwards, which is for others then.
            slots._around.wake()

    def _let_through(self) -> None:
        """Let as many waiters through as there is room for; wake them where no part is around."""
        room = self._room()
        while room > 0 and self._waiters:
            waiter = heapq.heappop(self._waiters)
            if waiter.woken.done():
                continue
            room -= 1
            if self._around is None:
                _leave(waiter)
                waiter.woken.set_result(None)
            else:
                self._pass(waiter)
                heapq.heappush(self._around._waiters, waiter)

    def _pass(self, waiter: _Waiter) -> None:
        self._passed += 1
        waiter.passed.append(self)

    def _room(self) -> int:
        if self._limit is None:
            return len(self._waiters) or 1
        return self._limit - len(self._taken) - self._passed

    def _outwards(self) -> Iterator["Slots"]:
        """Yield these slots, and then those of each part around them."""
        slots: Slots | None = self
        while slots is not None:
            yield slots
            slots = slots._around


def _leave(waiter: _Waiter) -> None:
    """Release the room that is kept for a waiter, which waits no longer."""
    for slots in waiter.passed:
        slots._passed -= 1
    waiter.passed.clear()


def of_parts(resolution: Resolution, plans: Mapping[str, PlanCall]) -> Mapping[str, Slots]:
    """Return the slots of each called launch plan, and under the empty name of the execution."""
    found = {"": Slots(resolution.max_parallelism)}
    for name, call in plans.items():
        found[name] = Slots(resolution.parallelism_of(name), found[call.parent])
    return found
