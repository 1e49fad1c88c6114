"""What clusterres measures: renders, what became of them, and how long a change takes."""

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager

from opentelemetry.metrics import Observation

from trimtab.runtime import metrics
from trimtab_clusterres.dirty import Dirty

_renders = metrics.seconds(
    "trimtab.clusterres.render.duration", "Reading and rendering all templates of a namespace"
)
_applied = metrics.meter.create_counter(
    "trimtab.clusterres.applied", "{namespace}", "Namespaces brought up to date, by cluster"
)
_failed = metrics.meter.create_counter(
    "trimtab.clusterres.failed", "{namespace}", "Tries that will be made again, by cluster"
)
_delay = metrics.seconds(
    "trimtab.clusterres.delay", "From when the stream stored a change until its manifests are there"
)


def rendering() -> AbstractContextManager[None]:
    """All templates of one namespace."""
    return metrics.timed(_renders, {})


def applied(cluster: str, changed_at: float) -> None:
    """A namespace is as the settings are; 0 where no change was the occasion."""
    _applied.add(1, {"trimtab.cluster": cluster})
    if changed_at:
        _delay.record(time.time() - changed_at, {"trimtab.cluster": cluster})


def failed(cluster: str) -> None:
    _failed.add(1, {"trimtab.cluster": cluster})


def observe(dirty: Dirty) -> None:
    """Tell from now on how much there is to be done."""

    def waiting() -> Iterable[Observation]:
        return [Observation(dirty.waiting)]

    def failing() -> Iterable[Observation]:
        return [Observation(dirty.failing)]

    metrics.gauge("trimtab.clusterres.dirty", "{namespace}", "Yet to be rendered", waiting)
    metrics.gauge("trimtab.clusterres.failing", "{namespace}", "That failed last time", failing)
