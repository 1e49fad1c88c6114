"""admin's own metrics: committed changes, and how far the stream is behind the database."""

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
    """The current revision of the database."""
    unsent: int
    """The number of changes that are not in the stream."""
    since: datetime | None
    """When the oldest of them was made; ``None`` if there is none."""

    @property
    def age_seconds(self) -> float:
        return 0.0 if self.since is None else (datetime.now(UTC) - self.since).total_seconds()


_writes = metrics.meter.create_counter(
    "trimtab.admin.writes", "{change}", "Changes of settings that were committed, by kind"
)


def count_writes(subjects: Iterable[str]) -> None:
    """Count a committed change for each subject."""
    for kind, number in Counter(map(_kind, subjects)).items():
        _writes.add(number, {"trimtab.kind": kind})


def observe(backlog: Callable[[], Coroutine[Any, Any, OutboxBacklog]]) -> None:
    """Export the backlog from now on; ``backlog`` runs in the current event loop."""
    loop = asyncio.get_running_loop()

    def observer(value: Callable[[OutboxBacklog], float]) -> Callable[[], Iterable[Observation]]:
        def observe() -> Iterable[Observation]:
            found = metrics.result_of(loop, backlog)
            return [] if found is None else [Observation(value(found))]

        return observe

    for name, unit, description, value in (
        ("trimtab.settings.revision", "{revision}", "Of the database", lambda b: b.revision),
        ("trimtab.outbox.unsent", "{change}", "Not in the stream yet", lambda b: b.unsent),
        ("trimtab.outbox.age", "s", "Of the oldest change not in it", lambda b: b.age_seconds),
    ):
        metrics.gauge(name, unit, description, observer(value))


def _kind(subject: str) -> str:
    """Return the kind of a record, such as ``task_resource``, or ``projects``, ``pools`` etc."""
    _, family, rest = subject.split(".", 2)
    return rest.partition(".")[0] if family == "attributes" else family
