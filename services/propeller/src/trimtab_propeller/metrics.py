"""Metrics: events of execution logs, admission, the wait for settings, owned executions."""

from collections.abc import Callable, Iterable, Sized
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
_namespace_wait = metrics.seconds(
    "trimtab.propeller.namespace_wait.duration",
    "Wait of a project and domain with requests until its namespace could be used",
)


def count_event(event: AnyEvent) -> None:
    """Count an event that was appended to an execution log."""
    counter = _nodes if event.type.startswith("node_") else _executions
    counter.add(1, {"trimtab.event": event.type})


def measure_admission() -> AbstractContextManager[None]:
    return metrics.timed(_admission, {})


def record_view_wait(seconds: float) -> None:
    """Record how long requests have waited until the view had their settings."""
    _view_wait.record(seconds)


def record_namespace_wait(seconds: float) -> None:
    """Record how long the requests of a project and domain have waited for their namespace."""
    _namespace_wait.record(seconds)


def observe_executions(executions: Sized, bound: int) -> None:
    """Export the number of executions that this propeller drives, and its bound, from now on."""
    _observe("running", "{execution}", "Owned executions", lambda: len(executions))
    _observe("bound", "{execution}", "How many executions it may own at once", lambda: bound)


def observe_requests(count: Callable[[], int]) -> None:
    """Export the number of requests that no propeller has claimed, from now on."""
    _observe("requests", "{execution}", "Requests that no propeller has claimed", count)


def observe_out_of_sight(count: Callable[[], int]) -> None:
    """Export the number of executions without an owner that this propeller must leave alone."""
    description = "Executions without an owner whose attempts are at other locations"
    _observe("out_of_sight", "{execution}", description, count)


def _observe(name: str, unit: str, description: str, value: Callable[[], int]) -> None:
    def observe() -> Iterable[Observation]:
        return [Observation(value())]

    metrics.gauge(f"trimtab.propeller.{name}", unit, description, observe)
