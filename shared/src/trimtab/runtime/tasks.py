"""Background tasks of a service, which run until cancelled: no failure of one ends the service."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from trimtab.errors import Retryable, TrimtabError
from trimtab.runtime import metrics
from trimtab.runtime.retrying import backoff_seconds, raise_if_cancelled

log = logging.getLogger(__name__)

_LONGEST_AFTER_DEFECT_SECONDS = 30.0
_STEADY_SECONDS = 5.0
"""After work that ran for so long, the delays start again at the first one."""

_defects = metrics.meter.create_counter(
    "trimtab.defects", "{failure}", "Failures that no code expects, by the event that is logged"
)


def report_failure(
    event: str, error: Exception, fields: Mapping[str, object] | None = None
) -> bool:
    """Log a failure, and return whether it was to be expected: `Retryable`.

    One that is no `TrimtabError` is a defect: it is logged with its traceback, and counted.
    """
    extra = {**(fields or {}), "error": str(error)}
    if isinstance(error, Retryable):
        log.warning(event, extra=extra)
        return True
    if isinstance(error, TrimtabError):
        log.error(event, extra=extra)
    else:
        _defects.add(1, {"trimtab.event": event})
        log.error(event, extra=extra, exc_info=error)
    return False


async def retry_forever(
    work: Callable[[], Awaitable[None]],
    event: str,
    *,
    first: float = 0.1,
    longest: float = 2.0,
    is_done: Callable[[], bool] = lambda: False,
) -> None:
    """Run work again whenever it returns or fails, until cancelled or ``is_done`` after it.

    ``event`` is the log event of a failure. After a defect the delays grow longer.
    """
    loop = asyncio.get_running_loop()
    failures = 0
    while True:
        started = loop.time()
        longest_delay = longest
        try:
            await work()
        except Exception as error:  # noqa: BLE001  # the boundary: none ends the service
            if not report_failure(event, error):
                longest_delay = max(longest, _LONGEST_AFTER_DEFECT_SECONDS)
        raise_if_cancelled()
        if is_done():
            return
        failures = 1 if loop.time() - started > _STEADY_SECONDS else failures + 1
        await asyncio.sleep(backoff_seconds(failures, first=first, longest=longest_delay))


async def keep_running(work: Callable[[], Awaitable[None]], event: str) -> None:
    """Run work until it returns or is cancelled, and again where it fails."""
    has_returned = False

    async def run() -> None:
        nonlocal has_returned
        await work()
        has_returned = True

    await retry_forever(run, event, is_done=lambda: has_returned)
