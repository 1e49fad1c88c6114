"""A token that is held, as its holder sees it: how long it may act, and whether it was lost."""

import asyncio
import sys
import time
from concurrent.futures import Future, InvalidStateError

from trimtab.errors import Retryable
from trimtab.tokens.protocol import Allocate

MARGIN = 0.05
"""Part of a lease, at its end, in which its holder no longer acts: clocks do not run alike, and
what was begun takes its time."""

# The other one stands still while the machine sleeps, and leases do not.
_CLOCK = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC


def now() -> float:
    """Seconds of a clock that never jumps."""
    return time.clock_gettime(_CLOCK)


class LeaseLost(Retryable):
    """The token is held no longer. What needs it must stop; it may start over with a new one."""


class Lease:
    """What `trimtab.tokens.pools.Pools.token` gives. It may be looked at from any thread."""

    def __init__(
        self, request: Allocate, *, fence: int | None, seconds: float | None, sent: float
    ) -> None:
        """``sent`` is when the request was sent that was granted for so many seconds."""
        self.request = request
        """What was asked for."""
        self.fence = fence
        """Grows with each grant: a target that keeps the highest one it has seen, and refuses a
        lower one, is safe from a holder that does not know yet that it lost its token. ``None``
        where resmgr keeps nothing (noop)."""
        self._lost: Future[str] = Future()
        self.extend(sent, seconds)

    @property
    def token(self) -> str:
        """Its id."""
        return self.request.token

    @property
    def pools(self) -> tuple[str, ...]:
        """Sorted."""
        return tuple(units.pool for units in self.request.units)

    @property
    def seconds_left(self) -> float:
        """How long its holder may act unless it is renewed; less than 0 where it may not."""
        return self._ends - now()

    @property
    def expires(self) -> bool:
        """Whether it has to be renewed; not where resmgr keeps nothing."""
        return self.seconds != float("inf")

    @property
    def held(self) -> bool:
        """Whether its holder may act. Once lost, it stays lost."""
        if not self._lost.done() and self.seconds_left <= 0:
            self.mark_lost(f"its lease of {self.seconds:g} s was not renewed in time")
        return not self._lost.done()

    def check(self) -> None:
        """Call it before whatever must not be done without the token. Raises `LeaseLost`."""
        if not self.held:
            pools = ", ".join(self.pools)
            raise LeaseLost(f"token {self.token!r} of {pools} is lost: {self._lost.result()}")

    async def lost(self) -> str:
        """Wait until it is lost, and say why."""
        # Whoever no longer waits must not cancel what others wait for.
        return await asyncio.shield(asyncio.wrap_future(self._lost))

    def extend(self, sent: float, seconds: float | None) -> None:
        """Count on it for so many seconds since ``sent``; ``None`` is for ever."""
        self.seconds = float("inf") if seconds is None else seconds
        self._ends = sent + self.seconds * (1 - MARGIN)

    def mark_lost(self, reason: str) -> None:
        """Never count on it again. The first reason stays."""
        try:
            self._lost.set_result(reason)
        except InvalidStateError:
            return
