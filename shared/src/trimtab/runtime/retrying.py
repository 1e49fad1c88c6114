"""Back-off: the delay before the next try, and a loop that tries until it is cancelled."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from trimtab.errors import Retryable

log = logging.getLogger(__name__)

_STEADY_SECONDS = 5.0
"""After work that ran for so long, the delays start again at the first one."""


def backoff_seconds(failures: int, *, first: float, longest: float) -> float:
    """Return the delay after so many failures in a row, counted from 1.

    The delay doubles with each failure up to ``longest``. Half of it is random, so that processes
    that failed together do not try again together.
    """
    delay = min(longest, first * 2.0 ** min(failures - 1, 32))
    return delay * random.uniform(0.5, 1.0)


def raise_if_cancelled() -> None:
    """Raise the cancellation of the current task that a library may have swallowed.

    Where a result and a cancellation arrive together, ``asyncio.wait_for`` of Python 3.11, which
    nats-py uses everywhere, returns the result; a loop would then never end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def retry_forever(
    work: Callable[[], Awaitable[None]], event: str, *, first: float = 0.1, longest: float = 2.0
) -> None:
    """Run work again whenever it returns or raises `Retryable`, until cancelled.

    ``event`` is the log event of a failure. Any other exception is raised.
    """
    loop = asyncio.get_running_loop()
    failures = 0
    while True:
        started = loop.time()
        try:
            await work()
        except Retryable as error:
            log.warning(event, extra={"error": str(error)})
        raise_if_cancelled()
        failures = 1 if loop.time() - started > _STEADY_SECONDS else failures + 1
        await asyncio.sleep(backoff_seconds(failures, first=first, longest=longest))
