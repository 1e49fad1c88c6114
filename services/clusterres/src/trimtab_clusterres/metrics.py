"""Metrics of clusterres: renders, their results, the delay of a change, the queues."""

import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager

from opentelemetry.metrics import Observation

from trimtab.runtime import metrics
from trimtab_clusterres.queue import WorkQueue

_renders = metrics.seconds(
    "trimtab.clusterres.render.duration", "Rendering all templates of a namespace"
)
_applied = metrics.meter.create_counter(
    "trimtab.clusterres.applied", "{namespace}", "Namespaces brought up to date, by cluster"
)
_failed = metrics.meter.create_counter(
    "trimtab.clusterres.failed", "{namespace}", "Failed tries, which are retried, by cluster"
)
_repaired = metrics.meter.create_counter(
    "trimtab.clusterres.repaired", "{object}", "Objects whose drift was taken back, by cluster"
)
_delay = metrics.seconds(
    "trimtab.clusterres.delay", "From when the stream stored a change until it is applied"
)


def measure_render() -> AbstractContextManager[None]:
    """Measure the rendering of all templates of one namespace."""
    return metrics.timed(_renders, {})


def count_success(cluster: str, changed_at: float) -> None:
    """Count a namespace that is up to date; ``changed_at`` is 0 where no change was the cause."""
    _applied.add(1, {"trimtab.cluster": cluster})
    if changed_at:
        _delay.record(time.time() - changed_at, {"trimtab.cluster": cluster})


def count_failure(cluster: str) -> None:
    _failed.add(1, {"trimtab.cluster": cluster})


def count_repair(cluster: str) -> None:
    _repaired.add(1, {"trimtab.cluster": cluster})


def observe(queues: Mapping[str, WorkQueue]) -> None:
    """Report the state of each cluster's queue from now on."""

    def depths() -> Iterable[Observation]:
        return [
            Observation(queue.depth, {"trimtab.cluster": name}) for name, queue in queues.items()
        ]

    def failing() -> Iterable[Observation]:
        return [
            Observation(queue.failing, {"trimtab.cluster": name}) for name, queue in queues.items()
        ]

    metrics.gauge("trimtab.clusterres.dirty", "{namespace}", "Marked, and not taken yet", depths)
    metrics.gauge("trimtab.clusterres.failing", "{namespace}", "Whose last try failed", failing)
