"""What propeller measures: what becomes of executions, their admission, the wait for settings."""

from collections.abc import Iterable, Sized
from contextlib import AbstractContextManager

from opentelemetry.metrics import Observation

from trimtab.messages.executions import AnyEvent
from trimtab.runtime import metrics

_executions = metrics.meter.create_counter(
    "trimtab.propeller.executions", "{event}", "Executions that were owned, admitted, …, by event"
)
_nodes = metrics.meter.create_counter(
    "trimtab.propeller.nodes", "{event}", "Attempts of nodes that wait, start, …, by event"
)
_admission = metrics.seconds(
    "trimtab.propeller.admission.duration",
    "From taking an execution up until it is admitted or refused",
)
_barrier = metrics.seconds(
    "trimtab.propeller.barrier.duration", "Waiting for the settings that an execution must see"
)


def appended(event: AnyEvent) -> None:
    """An event that is now in the log of an execution."""
    counter = _nodes if event.type.startswith("node_") else _executions
    counter.add(1, {"trimtab.event": event.type})


def admission() -> AbstractContextManager[None]:
    return metrics.timed(_admission, {})


def barrier() -> AbstractContextManager[None]:
    return metrics.timed(_barrier, {})


def observe(runs: Sized) -> None:
    """Tell from now on of the executions that this propeller acts for."""

    def running() -> Iterable[Observation]:
        return [Observation(len(runs))]

    metrics.gauge("trimtab.propeller.running", "{execution}", "That it acts for", running)
