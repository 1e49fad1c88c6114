"""The work queue of one cluster: its dirty namespaces, each once, however often it was marked."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from trimtab.runtime.retrying import backoff_seconds

_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.16
"""Well within the quarter of a second in which a change has to take effect."""


@dataclass
class Item:
    """A dirty namespace."""

    namespace: str
    traceparent: str = ""
    """Trace context of the newest change that marked it; empty where no change did."""
    changed_at: float = 0.0
    """Unix time when the stream stored the oldest change that marked it; 0 where none did."""


class WorkQueue:
    """Dirty namespaces of one cluster, oldest first.

    A namespace that a worker has taken is not handed out again before the worker is done with it.
    One that failed is marked again after a growing delay.
    """

    def __init__(self, retry_seconds: float = 0.5, longest_retry_seconds: float = 60.0) -> None:
        self._retry_seconds = retry_seconds
        self._longest_retry_seconds = longest_retry_seconds
        self._marked: dict[str, Item] = {}
        self._taken: set[str] = set()
        self._pauses: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._retries: dict[str, asyncio.TimerHandle] = {}
        self._changed = asyncio.Event()

    @property
    def depth(self) -> int:
        """The number of marked namespaces that no worker has taken."""
        return len(self._marked)

    @property
    def failing(self) -> int:
        """The number of namespaces whose last try failed."""
        return len(self._failures)

    def mark(self, namespaces: Iterable[str], traceparent: str = "", at: float = 0.0) -> None:
        """Mark namespaces dirty; ``at`` is when the stream stored the change that did it."""
        for namespace in namespaces:
            item = self._marked.setdefault(namespace, Item(namespace))
            item.traceparent = traceparent or item.traceparent
            item.changed_at = item.changed_at or at
        self._changed.set()

    async def take(self) -> Item:
        """Wait for the namespace that was marked first; the caller calls `done` afterwards."""
        while (item := self._first_free()) is None:
            self._changed.clear()
            await self._changed.wait()
        del self._marked[item.namespace]
        self._taken.add(item.namespace)
        return item

    def done(self, item: Item) -> None:
        """Hand the namespace out again where it was marked meanwhile.

        Changes then come in a burst, so it is handed out after a pause that collects the rest.
        """
        namespace = item.namespace
        if namespace not in self._marked:
            self._pauses.pop(namespace, None)
            self._free(namespace)
            return
        pause = self._pauses.get(namespace, _FIRST_PAUSE_SECONDS)
        self._pauses[namespace] = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        asyncio.get_running_loop().call_later(pause, self._free, namespace)

    def succeeded(self, namespace: str) -> None:
        """Reset the back-off of a namespace and cancel its retry."""
        self._failures.pop(namespace, None)
        if (retry := self._retries.pop(namespace, None)) is not None:
            retry.cancel()

    def failed(self, namespace: str, changed_at: float = 0.0) -> float:
        """Mark the namespace again after a back-off, and return the delay in seconds."""
        failures = self._failures.get(namespace, 0) + 1
        self.succeeded(namespace)
        self._failures[namespace] = failures
        delay = backoff_seconds(
            failures, first=self._retry_seconds, longest=self._longest_retry_seconds
        )
        loop = asyncio.get_running_loop()
        self._retries[namespace] = loop.call_later(delay, self.mark, [namespace], "", changed_at)
        return delay

    def _first_free(self) -> Item | None:
        return next((item for name, item in self._marked.items() if name not in self._taken), None)

    def _free(self, namespace: str) -> None:
        self._taken.discard(namespace)
        self._changed.set()
