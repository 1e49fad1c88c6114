"""A granted token as its holder sees it: until when it may be used, and whether it was lost."""

import asyncio
import sys
import time
from concurrent.futures import Future, InvalidStateError

from trimtab.errors import Retryable
from trimtab.tokens.protocol import Allocate

MARGIN = 0.05
"""The last part of a lease, in which its holder no longer acts: clocks differ in speed, and an
action that has begun needs time to end."""

# The monotonic clock stops while a machine is suspended; a lease does not.
_CLOCK = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC


def now() -> float:
    """Return the seconds of a clock that never jumps."""
    return time.clock_gettime(_CLOCK)


class LeaseLost(Retryable):
    """The token is no longer held: work that needs it must stop, and may start with a new one."""


class Lease:
    """A token that `trimtab.tokens.pools.Pools.token` holds. Any thread may use it."""

    def __init__(
        self, request: Allocate, *, fence: int | None, seconds: float | None, sent: float
    ) -> None:
        """``sent`` is the time of `now` when the request was sent; the lease lasts ``seconds``."""
        self.request = request
        """The request that was granted."""
        self.fence = fence
        """Grows with each grant. A target that stores the highest fence and refuses lower ones is
        safe from a holder that does not know yet that its token was lost. ``None`` where resmgr is
        of type ``noop``."""
        self._lost: Future[str] = Future()
        self.extend(sent, seconds)

    @property
    def token(self) -> str:
        """The id of the token."""
        return self.request.token

    @property
    def pools(self) -> tuple[str, ...]:
        """The names of the pools, sorted."""
        return tuple(units.pool for units in self.request.units)

    @property
    def seconds_left(self) -> float:
        """How long the holder may act without a renewal; negative where it may not."""
        return self._ends - now()

    @property
    def expires(self) -> bool:
        """Whether the lease has to be renewed. False where resmgr is of type ``noop``."""
        return self.seconds != float("inf")

    @property
    def held(self) -> bool:
        """Whether the holder may act. A lost token stays lost."""
        if not self._lost.done() and self.seconds_left <= 0:
            self.mark_lost(f"its lease of {self.seconds:g} s was not renewed in time")
        return not self._lost.done()

    def check(self) -> None:
        """Raise `LeaseLost` unless the token is held. Call it before each action that needs it."""
        if not self.held:
            pools = ", ".join(self.pools)
            raise LeaseLost(f"token {self.token!r} of {pools} is lost: {self._lost.result()}")

    async def lost(self) -> str:
        """Wait until the token is lost, and return the reason."""
        # The shield keeps a cancelled caller from cancelling the future that others wait for.
        return await asyncio.shield(asyncio.wrap_future(self._lost))

    def extend(self, sent: float, seconds: float | None) -> None:
        """Let the lease end so many seconds after ``sent``; ``None`` means never."""
        self.seconds = float("inf") if seconds is None else seconds
        self._ends = sent + self.seconds * (1 - MARGIN)

    def mark_lost(self, reason: str) -> None:
        """Mark the token as lost for good. The first reason stays."""
        try:
            self._lost.set_result(reason)
        except InvalidStateError:
            return
