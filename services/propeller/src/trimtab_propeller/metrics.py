"""Metrics: events of execution logs, admission, the wait for settings, driven executions."""

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
    "From the claim of an execution until it is admitted or refused",
)
_view_wait = metrics.seconds(
    "trimtab.propeller.barrier.duration", "Wait for the settings that an execution must see"
)


def count_event(event: AnyEvent) -> None:
    """Count an event that was appended to an execution log."""
    counter = _nodes if event.type.startswith("node_") else _executions
    counter.add(1, {"trimtab.event": event.type})


def measure_admission() -> AbstractContextManager[None]:
    return metrics.timed(_admission, {})


def measure_view_wait() -> AbstractContextManager[None]:
    return metrics.timed(_view_wait, {})


def observe_executions(executions: Sized) -> None:
    """Export the number of executions that this propeller drives, from now on."""

    def observe() -> Iterable[Observation]:
        return [Observation(len(executions))]

    metrics.gauge("trimtab.propeller.running", "{execution}", "Driven executions", observe)
