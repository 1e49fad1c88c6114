"""What admin measures beside its calls: what is written, and how far the stream is behind."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from opentelemetry.metrics import Observation

from trimtab.runtime import metrics


class OutboxBacklog(NamedTuple):
    """How far the stream is behind the database."""

    revision: int
    """Of the database."""
    unsent: int
    """Changes that are not in the stream."""
    since: datetime | None
    """When the oldest of them was made; ``None`` where there is none."""

    @property
    def age_seconds(self) -> float:
        return 0.0 if self.since is None else (datetime.now(UTC) - self.since).total_seconds()


_writes = metrics.meter.create_counter(
    "trimtab.admin.writes", "{change}", "Changes of settings that were committed, by kind"
)


def written(subjects: Iterable[str]) -> None:
    """These subjects have new revisions."""
    for kind, number in Counter(map(_kind, subjects)).items():
        _writes.add(number, {"trimtab.kind": kind})


def observe(outbox: Callable[[], Coroutine[Any, Any, OutboxBacklog]]) -> None:
    """Tell of the outbox from now on, as the loop that runs now finds it."""
    loop = asyncio.get_running_loop()

    def observed(value: Callable[[OutboxBacklog], float]) -> Callable[[], Iterable[Observation]]:
        def observe() -> Iterable[Observation]:
            found = metrics.result_of(loop, outbox)
            return [] if found is None else [Observation(value(found))]

        return observe

    for name, unit, description, value in (
        ("trimtab.settings.revision", "{revision}", "Of the database", lambda o: o.revision),
        (
            "trimtab.outbox.unsent",
            "{change}",
            "Not in the stream yet",
            lambda o: o.unsent,
        ),
        (
            "trimtab.outbox.age",
            "s",
            "Of the oldest change not in it",
            lambda o: o.age_seconds,
        ),
    ):
        metrics.gauge(name, unit, description, observed(value))


def _kind(subject: str) -> str:
    """``task_resource`` of a record, else what it is: ``projects``, ``pools``."""
    _, family, rest = subject.split(".", 2)
    return rest.partition(".")[0] if family == "attributes" else family
