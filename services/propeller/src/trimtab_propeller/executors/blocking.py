"""Blocking work beside the event loop, and errors of the operating system as those of executors."""

import asyncio
import errno
from collections.abc import Callable
from typing import TypeVar

from trimtab_propeller.executors.port import (
    AttemptRejected,
    ExecutorError,
    ExecutorUnavailable,
    HostUnavailable,
)

T = TypeVar("T")

_REJECTING = frozenset({errno.E2BIG, errno.ENAMETOOLONG})
"""Errors of the operating system that depend on the attempt alone."""
_EXHAUSTED = frozenset(
    {
        errno.EAGAIN,
        errno.EDQUOT,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EROFS,
    }
)
"""Errors of the operating system that depend on no attempt."""


async def in_thread(work: Callable[[], T]) -> T:
    """Run blocking work beside the event loop, and raise its `OSError` as an `ExecutorError`."""
    try:
        working = asyncio.get_running_loop().run_in_executor(None, work)
    except RuntimeError as error:  # Where no process can be forked, no thread can be started.
        raise HostUnavailable(str(error)) from error
    try:
        return await working
    except OSError as error:
        raise executor_error(error.errno, str(error)) from error


def executor_error(number: int | None, message: str) -> ExecutorError:
    """Return the error of the executor for one of the operating system."""
    if number in _REJECTING:
        return AttemptRejected(message)
    return HostUnavailable(message) if number in _EXHAUSTED else ExecutorUnavailable(message)
