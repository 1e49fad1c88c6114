"""Whether the executor of this propeller can start attempts.

A host that cannot leaves requests to other propellers, and its own attempts wait.
"""

import asyncio
import logging
import time

from trimtab.runtime.retrying import backoff_seconds
from trimtab_propeller.executors.port import Executor, ExecutorUnavailable, HostUnavailable

log = logging.getLogger(__name__)

_CHECK_SECONDS = 5.0
"""How often an executor is checked."""
_LONGEST_SECONDS = 60.0
"""The longest delay before the next check of one that has failed again and again."""


class ExecutorAvailability:
    """Whether attempts can be started, as last checked. Run `check_regularly` while it is used."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._problem = "it has not been checked yet"
        self._available = asyncio.Event()
        self._failures = 0
        """How often attempts could no longer be started, since that was steady."""
        self._available_since = 0.0
        self._check_at = 0.0

    @property
    def problem(self) -> str:
        """Why no attempt can be started; empty where attempts can."""
        return "" if self._available.is_set() else self._problem

    async def wait(self) -> None:
        """Wait until attempts can be started."""
        await self._available.wait()

    async def is_host_failing(self, error: ExecutorUnavailable) -> bool:
        """Return whether a start failed because no attempt can be started.

        Then `wait` waits for the next check, and longer each time until starts succeed for as long
        as the longest delay: a host that has room for a few attempts only fails again at once.
        """
        if isinstance(error, HostUnavailable):
            self._record_problem(error)
            return True
        return not await self._is_available()

    def record_start(self) -> None:
        """Record that an attempt was started."""
        if time.monotonic() - self._available_since >= _LONGEST_SECONDS:
            self._failures = 0

    async def check_regularly(self) -> None:
        """Check the executor until cancelled."""
        while True:
            if time.monotonic() >= self._check_at and await self._is_available():
                self._set_available()
            await asyncio.sleep(_CHECK_SECONDS)

    def _set_available(self) -> None:
        if not self._available.is_set():
            self._available_since = time.monotonic()
            self._available.set()

    async def _is_available(self) -> bool:
        try:
            await self._executor.check()
        except ExecutorUnavailable as error:
            self._record_problem(error)
            return False
        return True

    def _record_problem(self, error: ExecutorUnavailable) -> None:
        if self._available.is_set():
            self._failures += 1
            self._check_at = time.monotonic() + backoff_seconds(
                self._failures, first=_CHECK_SECONDS, longest=_LONGEST_SECONDS
            )
        self._problem = str(error)
        self._available.clear()
        log.error("executor.cannot_start", extra={"error": str(error)})
