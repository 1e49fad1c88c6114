"""A reader's own copy of the settings: proved equal to the database, or not ready.

Snapshot, then follow. A transaction is shown when its commit has arrived. A fresh start is read
aside and taken only when a watermark stands in it, so a wiped stream never empties a good view.
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
from pydantic import ValidationError

from trimtab.errors import Retryable
from trimtab.messages import subjects
from trimtab.messages.events import COMMIT, REVISION, TRACEPARENT, Event, Watermark, setting
from trimtab.runtime import bus, metrics, retrying
from trimtab.runtime.bus import StoredMessage
from trimtab.settings.state import Settings

log = logging.getLogger(__name__)

_delay = metrics.seconds(
    "trimtab.view.delay",
    "From when the stream stored a change until this service shows it",
)


class Change(NamedTuple):
    """One change of a transaction that is now shown."""

    event: Event
    revision: int
    traceparent: str
    at: float = 0.0
    """When the stream stored it, in seconds of Unix time."""


@dataclass
class Candidate:
    """Settings being read; pure, so that order, gaps and wipes are tested without a server."""

    settings: Settings = field(default_factory=Settings)
    proved: bool = False
    """Whether a watermark has been equal to what we hold, or stands in a stream that moved on."""
    caught_up: bool = False
    """Whether the snapshot is complete."""
    heard: int = 0
    """The newest revision that a message had; some of what was heard may not be shown yet."""
    wrong: str = ""
    """How a watermark differed; the reader must start over."""
    _held_back: list[tuple[Change, int]] = field(default_factory=list)

    def take(self, message: StoredMessage) -> list[Change]:
        """The changes that this message lets through, in order."""
        if message.subject == subjects.WATERMARK:
            # In a snapshot, what stands behind the watermark replaced some of what stood before.
            exact = self.caught_up or message.is_last
            self._compare(Watermark.model_validate_json(message.body), exact)
            return []
        revision = int(message.headers[REVISION])
        commit = int(message.headers.get(COMMIT, revision))
        self.heard = max(self.heard, revision)
        if revision <= self.settings.revision:
            return []
        event = setting(message.subject, message.body)
        change = Change(event, revision, message.headers.get(TRACEPARENT, ""), message.stored_at)
        self._held_back.append((change, commit))
        # Rows are published in order, so a transaction is complete once any revision at or past
        # its commit was seen; the row of the commit itself may have been replaced by a newer one.
        shown = [held for held, last in self._held_back if last <= revision]
        self._held_back = [(held, last) for held, last in self._held_back if last > revision]
        for change in shown:
            self.settings.apply(change.event, change.revision)
        return shown

    def _compare(self, mark: Watermark, exact: bool) -> None:
        settings = self.settings
        if not exact or self._held_back or mark.revision < settings.revision:
            # The stream has moved on since; it is the relay's, and a newer watermark will come.
            self.proved = True
            return
        held = (settings.digest.count, str(settings.digest))
        if held != (mark.count, mark.digest):
            self.wrong = f"holds {held} at revision {settings.revision}, not {mark}"
            return
        settings.revision = mark.revision
        self.proved = True


class View:
    """The settings as this process sees them. Run `follow` for as long as it is used."""

    def __init__(
        self,
        client: Client,
        changed: Callable[[Iterable[Change]], None] = lambda _changes: None,
        reloaded: Callable[[], None] = lambda: None,
        stale_after_seconds: float = 30.0,
    ) -> None:
        """``changed`` hears what is newly shown, ``reloaded`` that everything may differ."""
        self._client = client
        self._changed = changed
        self._reloaded = reloaded
        self._stale_after = stale_after_seconds
        self._settings = Settings()
        self._proved_at = float("-inf")
        self._moved = asyncio.Condition()
        self._heard = 0
        self._measure()

    @property
    def settings(self) -> Settings:
        """What is shown now; empty before the first snapshot was proved."""
        return self._settings

    @property
    def age_seconds(self) -> float:
        """Since a watermark last proved the view."""
        return time.monotonic() - self._proved_at

    @property
    def ready(self) -> bool:
        return self.age_seconds <= self._stale_after

    def facts(self) -> dict[str, object]:
        """What the view is, to be compared with the database and with other views."""
        settings = self._settings
        view = {
            "revision": settings.revision,
            "count": settings.digest.count,
            "digest": str(settings.digest),
        }
        return {"view": view}

    async def reached(self, revision: int, timeout: float) -> Settings:
        """Wait for a proved view that holds a revision. Raises `Retryable` after the timeout."""
        try:
            async with asyncio.timeout(timeout), self._moved:
                await self._moved.wait_for(
                    lambda: self.ready and self._settings.revision >= revision
                )
        except TimeoutError:
            raise Retryable(
                f"the view of the settings is at revision {self._settings.revision}, not yet at "
                f"{revision} (proved {self.age_seconds:.0f} s ago)"
            ) from None
        return self._settings

    async def follow(self) -> None:
        """Keep the view up to date until cancelled."""
        await retrying.retry_forever(self._read, "view.lost")

    async def _read(self) -> None:
        candidate = Candidate()
        async with aclosing(bus.follow(self._client, subjects.SETTINGS, "trimtab.>")) as messages:
            async for message in messages:
                if message is None:
                    candidate.caught_up = True
                    changes = []
                else:
                    changes = self._take(candidate, message)
                if candidate.wrong:
                    raise bus.BrokenSubscription(
                        f"the view differs from its watermark: {candidate.wrong}"
                    )
                self._heard = candidate.heard
                if self._show(candidate, changes):
                    if message is None or message.subject == subjects.WATERMARK:
                        self._proved_at = time.monotonic()
                    async with self._moved:
                        self._moved.notify_all()

    def _show(self, candidate: Candidate, changes: list[Change]) -> bool:
        """Whether the candidate is, or now becomes, what is shown."""
        if candidate.settings is self._settings:
            if changes:
                now = time.time()
                for change in changes:
                    _delay.record(now - change.at)
                self._changed(changes)
            return True
        current = candidate.settings.revision >= self._settings.revision
        if not (candidate.caught_up and candidate.proved and current):
            return False
        self._settings = candidate.settings
        log.info("view.loaded", extra={"revision": self._settings.revision})
        self._reloaded()
        return True

    def _measure(self) -> None:
        metrics.gauge(
            "trimtab.view.revision",
            "{revision}",
            "Of the settings that this service acts by",
            lambda: [Observation(self._settings.revision)],
        )
        metrics.gauge(
            "trimtab.view.lag",
            "{revision}",
            "Changes that have arrived from the stream and are not shown yet",
            lambda: [Observation(max(self._heard - self._settings.revision, 0))],
        )
        metrics.gauge(
            "trimtab.view.age",
            "s",
            "Since the view was last proved to be what the database has",
            lambda: [Observation(self.age_seconds)] if isfinite(self._proved_at) else [],
        )

    def _take(self, candidate: Candidate, message: StoredMessage) -> list[Change]:
        try:
            return candidate.take(message)
        except (KeyError, ValueError, ValidationError) as error:
            # Not a message of ours, or one of a release to come: the watermark decides.
            log.error("view.unreadable", extra={"subject": message.subject, "error": str(error)})
            return []
