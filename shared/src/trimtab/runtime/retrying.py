"""Back-off: the delay before the next try, and the cancellation of loops that try again."""

import asyncio
import random


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
