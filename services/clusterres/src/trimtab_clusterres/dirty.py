"""What has to be rendered again: each namespace once, however often it was marked meanwhile."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from trimtab_clusterres.namespaces import Place

_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.16
"""Within what people notice, and well within the quarter of a second that a change may take."""


@dataclass
class Work:
    """A namespace to render, and where to apply it."""

    namespace: str
    clusters: set[str] = field(default_factory=set)
    traceparent: str = ""
    """Of the newest change that marked it; empty where none did."""
    changed_at: float = 0.0
    """When the stream stored the oldest change that marked it; 0 where none did."""


class Dirty:
    """Marked namespaces, oldest first. One that is being worked on is not given out again."""

    def __init__(self, retry_seconds: float = 0.5, longest_retry_seconds: float = 60.0) -> None:
        self._retry_seconds = retry_seconds
        self._longest_retry_seconds = longest_retry_seconds
        self._marked: dict[str, Work] = {}
        self._busy: set[str] = set()
        self._pauses: dict[str, float] = {}
        self._failures: dict[Place, int] = {}
        self._retries: dict[Place, asyncio.TimerHandle] = {}
        self._woken = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Namespaces that are marked."""
        return len(self._marked)

    @property
    def failing(self) -> int:
        """Places that failed when they were tried last."""
        return len(self._failures)

    def mark(self, places: Iterable[Place], traceparent: str = "", at: float = 0.0) -> None:
        for place in places:
            work = self._marked.setdefault(place.namespace, Work(place.namespace))
            work.clusters.add(place.cluster)
            work.traceparent = traceparent or work.traceparent
            work.changed_at = work.changed_at or at
        self._woken.set()

    async def take(self) -> Work:
        """The namespace that waits longest; the caller says `done` when it worked on it."""
        while (work := self._free()) is None:
            self._woken.clear()
            await self._woken.wait()
        del self._marked[work.namespace]
        self._busy.add(work.namespace)
        return work

    def done(self, work: Work) -> None:
        """A namespace that was marked meanwhile is in a burst: it waits a little for the rest."""
        name = work.namespace
        if name not in self._marked:
            self._pauses.pop(name, None)
            self._release(name)
            return
        pause = self._pauses.get(name, _FIRST_PAUSE_SECONDS)
        self._pauses[name] = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        asyncio.get_running_loop().call_later(pause, self._release, name)

    def succeeded(self, place: Place) -> None:
        self._failures.pop(place, None)
        if (retry := self._retries.pop(place, None)) is not None:
            retry.cancel()

    def failed(self, place: Place, changed_at: float = 0.0) -> float:
        """Mark the place again later, each time after a longer while; returns the seconds."""
        failures = self._failures.get(place, 0)
        self.succeeded(place)
        self._failures[place] = failures + 1
        # The exponent is bounded because a place may fail for weeks.
        seconds = min(self._retry_seconds * 2.0 ** min(failures, 32), self._longest_retry_seconds)
        loop = asyncio.get_running_loop()
        self._retries[place] = loop.call_later(seconds, self.mark, [place], "", changed_at)
        return seconds

    def _free(self) -> Work | None:
        return next((work for name, work in self._marked.items() if name not in self._busy), None)

    def _release(self, namespace: str) -> None:
        self._busy.discard(namespace)
        self._woken.set()
