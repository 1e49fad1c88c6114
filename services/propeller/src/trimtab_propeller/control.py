"""The control over the attempts of one execution: whether they start, go on, or are stopped."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class RunControl:
    """Set by the driver of an execution, and awaited by its attempts. Nothing is taken back."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        """No attempt is started any more. Those that were started go on."""
        self.stopped = asyncio.Event()
        """The attempts that were started are stopped."""
        self.reason = ""
        """Why they are stopped."""

    def close(self) -> None:
        self.closed.set()

    def stop(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.closed.set()
        self.stopped.set()


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Return the result of the work; ``None``, with the work cancelled, if the event is first."""
    working, waiting = asyncio.create_task(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        return None
    finally:
        waiting.cancel()
        if not working.done():
            working.cancel()
            # Its clean-up has ended when this returns.
            await asyncio.wait((working,))
