"""A service's copy of the settings, which watermarks verify; not ready while it is unverified.

A view reads the snapshot of SETTINGS and then follows the stream. It shows a transaction when its
commit has arrived. A new snapshot is read into a `Candidate`, which replaces the view only when it
holds a watermark: a wiped stream never empties a good view.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from math import isfinite
from typing import NamedTuple

from nats.aio.client import Client
from opentelemetry.metrics import Observation

from trimtab.errors import Retryable
from trimtab.messages import parsing, subjects
from trimtab.messages.events import TRACEPARENT, Event, Watermark
from trimtab.messages.parsing import Foreign
from trimtab.runtime import bus, metrics, tasks
from trimtab.runtime.bus import StoredMessage
from trimtab.runtime.foreign import ForeignMessages
from trimtab.settings.state import Settings

log = logging.getLogger(__name__)

_delay = metrics.seconds(
    "trimtab.view.delay",
    "Time from the storage of a change in the stream until this service shows it",
)


class Change(NamedTuple):
    """One change of a transaction that the view shows now."""

    event: Event
    revision: int
    traceparent: str
    stored_at: float = 0.0
    """When the stream stored it, in seconds of Unix time."""


@dataclass
class Candidate:
    """Settings that are being read. Pure: tests of order, gaps and wipes need no server."""

    settings: Settings = field(default_factory=Settings)
    is_verified: bool = False
    """Whether a watermark equalled the settings, or was followed by newer changes."""
    caught_up: bool = False
    """Whether the snapshot is complete."""
    newest: int = 0
    """The newest revision that has arrived; its change may not be shown yet."""
    mismatch: str = ""
    """The difference from a watermark, if there is one; the reader must begin again."""
    _held_back: list[Change] = field(default_factory=list)
    """The changes that have arrived of a transaction that is not complete, in order."""
    _held_commit: int = 0
    """The commit of that transaction."""

    def apply(self, message: StoredMessage) -> list[Change]:
        """Apply a message and return the changes that became complete with it, in order.

        Raises `Foreign`, and then nothing has changed.
        """
        if message.subject == subjects.WATERMARK:
            # A change behind the watermark of a snapshot may have replaced one in front of it.
            is_exact = self.caught_up or message.is_last
            self._compare(parsing.watermark(message.headers, message.body), is_exact)
            return []
        event, revision, commit = parsing.settings_change(
            message.subject, message.headers, message.body
        )
        self.newest = max(self.newest, revision)
        if revision <= self.settings.revision:
            return []
        change = Change(event, revision, message.headers.get(TRACEPARENT, ""), message.stored_at)
        return self._complete(change, commit)

    def _complete(self, change: Change, commit: int) -> list[Change]:
        """Hold the change back, or apply it with those that are complete, and return these.

        All changes that are held back are of one transaction, because the relay publishes rows in
        order: a row of another transaction completes it. The row of the commit itself may never
        arrive, where a newer row has replaced it.
        """
        shown: list[Change] = []
        if commit != self._held_commit:
            shown, self._held_back, self._held_commit = self._held_back, [], commit
        self._held_back.append(change)
        if change.revision >= commit:
            shown, self._held_back = shown + self._held_back, []
        for each in shown:
            self.settings.apply(each.event, each.revision)
        return shown

    def _compare(self, watermark: Watermark, is_exact: bool) -> None:
        settings = self.settings
        if not is_exact or self._held_back or watermark.revision < settings.revision:
            # Newer changes have arrived. The watermark shows that the relay filled this stream,
            # and the next one will be compared.
            self.is_verified = True
            return
        held = (settings.digest.count, str(settings.digest))
        if held != (watermark.count, watermark.digest):
            self.mismatch = f"holds {held} at revision {settings.revision}, not {watermark}"
            return
        settings.revision = watermark.revision
        self.is_verified = True


class View:
    """The settings that this process works with. Run `follow` for as long as the view is used."""

    def __init__(
        self,
        client: Client,
        changed: Callable[[Iterable[Change]], None] = lambda _changes: None,
        reloaded: Callable[[], None] = lambda: None,
        stale_after_seconds: float = 30.0,
    ) -> None:
        """Call ``changed`` with the newly shown changes, ``reloaded`` when all may have changed."""
        self._client = client
        self._changed = changed
        self._reloaded = reloaded
        self._stale_after = stale_after_seconds
        self._settings = Settings()
        self._verified_at = float("-inf")
        self._updated = asyncio.Condition()
        self._newest = 0
        self._foreign = ForeignMessages(subjects.SETTINGS)
        self._register_metrics()

    @property
    def settings(self) -> Settings:
        """The settings that are shown now; empty before the first snapshot was verified."""
        return self._settings

    @property
    def age_seconds(self) -> float:
        """Seconds since a watermark last verified the view."""
        return time.monotonic() - self._verified_at

    @property
    def ready(self) -> bool:
        return self.age_seconds <= self._stale_after

    def summary(self) -> dict[str, object]:
        """Return revision, count and digest, which are equal in the database and in every view."""
        settings = self._settings
        view = {
            "revision": settings.revision,
            "count": settings.digest.count,
            "digest": str(settings.digest),
        }
        return {"view": view}

    async def wait_for(self, revision: int, timeout: float) -> Settings:
        """Wait until the view is ready and holds a revision. Raises `Retryable` on a timeout."""
        try:
            async with asyncio.timeout(timeout), self._updated:
                await self._updated.wait_for(
                    lambda: self.ready and self._settings.revision >= revision
                )
        except TimeoutError:
            raise Retryable(
                f"the view of the settings is at revision {self._settings.revision}, not yet at "
                f"{revision} (verified {self.age_seconds:.0f} s ago)"
            ) from None
        return self._settings

    async def follow(self) -> None:
        """Keep the view up to date until cancelled."""
        await tasks.retry_forever(self._read, "view.interrupted")

    async def _read(self) -> None:
        candidate = Candidate()
        async with aclosing(bus.follow(self._client, subjects.SETTINGS, "trimtab.>")) as messages:
            async for message in messages:
                if message is None:
                    candidate.caught_up = True
                    changes = []
                else:
                    changes = self._apply(candidate, message)
                if candidate.mismatch:
                    raise bus.BrokenSubscription(
                        f"the view differs from its watermark: {candidate.mismatch}"
                    )
                self._newest = candidate.newest
                if self._show(candidate, changes):
                    if message is None or message.subject == subjects.WATERMARK:
                        self._verified_at = time.monotonic()
                    async with self._updated:
                        self._updated.notify_all()

    def _show(self, candidate: Candidate, changes: list[Change]) -> bool:
        """Return whether the candidate is shown, after showing it where it has become complete."""
        if candidate.settings is self._settings:
            if changes:
                now = time.time()
                for change in changes:
                    _delay.record(now - change.stored_at)
                self._changed(changes)
            return True
        is_current = candidate.settings.revision >= self._settings.revision
        if not (candidate.caught_up and candidate.is_verified and is_current):
            return False
        self._settings = candidate.settings
        log.info("view.loaded", extra={"revision": self._settings.revision})
        self._reloaded()
        return True

    def _register_metrics(self) -> None:
        metrics.gauge(
            "trimtab.view.revision",
            "{revision}",
            "Revision of the settings that this service works with",
            lambda: [Observation(self._settings.revision)],
        )
        metrics.gauge(
            "trimtab.view.lag",
            "{revision}",
            "Changes that have arrived from the stream and are not shown yet",
            lambda: [Observation(max(self._newest - self._settings.revision, 0))],
        )
        metrics.gauge(
            "trimtab.view.age",
            "s",
            "Time since a watermark last verified the view",
            lambda: [Observation(self.age_seconds)] if isfinite(self._verified_at) else [],
        )

    def _apply(self, candidate: Candidate, message: StoredMessage) -> list[Change]:
        try:
            return candidate.apply(message)
        except Foreign as error:
            self._foreign.report(message.subject, str(error))
            return []
