"""The work queue of one cluster: its dirty namespaces, each once, however often it was marked."""

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum

from trimtab.runtime.retrying import backoff_seconds

_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.16
"""Well within the quarter of a second in which a change has to take effect."""
_FEW = 16
"""The most namespaces of one change that go before those of a change to many."""


class Priority(IntEnum):
    """Why a namespace is dirty, the most urgent reason first."""

    CHANGE = 0
    """A change to few namespaces, or to the objects of one on the cluster."""
    RETRY = 1
    """Its last try failed."""
    BULK = 2
    """A change to many namespaces, or the whole view."""
    CHECK = 3
    """Nothing is known to differ."""


_TURNS = {Priority.CHANGE: 2, Priority.RETRY: 3, Priority.BULK: 3, Priority.CHECK: 9}
"""After so many turns of others a priority has the next one, the most urgent of such first."""


def priority_of(count: int) -> Priority:
    """Return the priority of a change that makes so many namespaces of a cluster dirty."""
    return Priority.CHANGE if count <= _FEW else Priority.BULK


@dataclass
class Item:
    """A dirty namespace."""

    namespace: str
    traceparent: str = ""
    """Trace context of the newest change that marked it; empty where no change did."""
    changed_at: float = 0.0
    """Unix time when the stream stored the oldest change that marked it; 0 where none did."""
    priority: Priority = Priority.CHANGE
    """The most urgent reason for which it was marked."""
    verify: bool = False
    """Whether its objects may have changed on the cluster since they were applied."""


class WorkQueue:
    """Dirty namespaces of one cluster, the most urgent first, and of these the oldest.

    After a few turns of others a less urgent one has its turn, so that none waits for good. A
    namespace that a worker has taken is not handed out again before the worker is done with it. One
    that failed is marked again after a growing delay.
    """

    def __init__(self, retry_seconds: float = 0.5, longest_retry_seconds: float = 60.0) -> None:
        self._retry_seconds = retry_seconds
        self._longest_retry_seconds = longest_retry_seconds
        self._marked: dict[str, Item] = {}
        self._free: dict[Priority, OrderedDict[str, Item]] = {
            each: OrderedDict() for each in Priority
        }
        self._passed_over = dict.fromkeys(Priority, 0)
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

    def mark(
        self,
        namespaces: Collection[str],
        traceparent: str = "",
        at: float = 0.0,
        *,
        priority: Priority | None = None,
        verify: bool = False,
    ) -> None:
        """Mark namespaces dirty; ``at`` is when the stream stored the change that did it.

        The priority follows from their number where none is given.
        """
        if priority is None:
            priority = priority_of(len(namespaces))
        for namespace in namespaces:
            item = self._marked.setdefault(namespace, Item(namespace, priority=priority))
            item.traceparent = traceparent or item.traceparent
            item.changed_at = item.changed_at or at
            item.verify = item.verify or verify
            if priority < item.priority:
                self._free[item.priority].pop(namespace, None)
                item.priority = priority
            if namespace not in self._taken:
                self._free[item.priority][namespace] = item
        self._changed.set()

    async def take(self) -> Item:
        """Wait for a namespace that is marked; the caller calls `done` afterwards."""
        while (priority := self._next_priority()) is None:
            self._changed.clear()
            await self._changed.wait()
        namespace, item = self._free[priority].popitem(last=False)
        del self._marked[namespace]
        self._taken.add(namespace)
        return item

    def done(self, item: Item) -> None:
        """Hand the namespace out again where it was marked meanwhile.

        Changes then come in a burst, so it is handed out after a pause that collects the rest.
        """
        namespace = item.namespace
        if namespace not in self._marked:
            self._pauses.pop(namespace, None)
            self._release(namespace)
            return
        pause = self._pauses.get(namespace, _FIRST_PAUSE_SECONDS)
        self._pauses[namespace] = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        asyncio.get_running_loop().call_later(pause, self._release, namespace)

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
        self._retries[namespace] = loop.call_later(delay, self._retry, namespace, changed_at)
        return delay

    def _retry(self, namespace: str, changed_at: float) -> None:
        self.mark([namespace], at=changed_at, priority=Priority.RETRY)

    def _next_priority(self) -> Priority | None:
        """Return the most urgent priority, or one that was passed over often enough."""
        waiting = [each for each in Priority if self._free[each]]
        if not waiting:
            return None
        due = (each for each in waiting if self._passed_over[each] >= _TURNS[each])
        chosen = next(due, waiting[0])
        for each in waiting:
            self._passed_over[each] += 1
        self._passed_over[chosen] = 0
        return chosen

    def _release(self, namespace: str) -> None:
        self._taken.discard(namespace)
        if (item := self._marked.get(namespace)) is not None:
            self._free[item.priority][namespace] = item
        self._changed.set()
