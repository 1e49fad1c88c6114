"""Instruments: functions that create them, and those that every service has.

Names follow OpenTelemetry's semantic conventions where there is one, else they are ``trimtab.…``.
The values of an attribute are few and known: never a token, an execution or a namespace. Nothing
is recorded where `trimtab.runtime.telemetry` exports nothing.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Histogram, Observation

from trimtab.errors import TrimtabError
from trimtab.messages import subjects

T = TypeVar("T")

meter = metrics.get_meter("trimtab")

_OBSERVE_SECONDS = 2.0
"""How long the exporter waits for a value that a query returns."""
_BOUNDARIES = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(30.0, 60.0, 300.0, 1800.0),
)
"""Seconds, from a call of Redis to the wait for a token. The SDK's default is in milliseconds."""


def seconds(name: str, description: str) -> Histogram:
    """Create a histogram of durations."""
    return meter.create_histogram(
        name, "s", description, explicit_bucket_boundaries_advisory=_BOUNDARIES
    )


def gauge(
    name: str, unit: str, description: str, observe: Callable[[], Iterable[Observation]]
) -> None:
    """Create a gauge. ``observe`` is called at each export, in a thread of the exporter."""

    def observed(_options: CallbackOptions) -> Iterable[Observation]:
        return observe()

    meter.create_observable_gauge(name, [observed], unit, description)


def result_of(
    loop: asyncio.AbstractEventLoop, query: Callable[[], Coroutine[Any, Any, T]]
) -> T | None:
    """Run a coroutine in the service's loop and return its result to the exporter's thread.

    Return ``None`` on a failure or a timeout: a missing value is better than a blocked exporter.
    """
    if not loop.is_running():
        return None
    future = asyncio.run_coroutine_threadsafe(query(), loop)
    try:
        return future.result(_OBSERVE_SECONDS)
    except (TrimtabError, TimeoutError):
        future.cancel()
        return None


@contextmanager
def timed(histogram: Histogram, attributes: Mapping[str, str | int]) -> Iterator[None]:
    """Record the duration of the block, and the type of the error that it raises."""
    began = time.perf_counter()
    try:
        yield
    except Exception as error:
        failed = {**attributes, "error.type": type(error).__name__}
        histogram.record(time.perf_counter() - began, failed)
        raise
    histogram.record(time.perf_counter() - began, attributes)


_operations = seconds(
    "messaging.client.operation.duration",
    "Time to publish to a stream, until it has confirmed",
)
_processed = seconds("messaging.process.duration", "Time to handle one message of a work queue")


@contextmanager
def publishing(subject: str) -> Iterator[None]:
    """Record the publishing of one message, until the stream has confirmed it."""
    named = {"messaging.operation.name": "publish", "messaging.operation.type": "send"}
    with timed(_operations, {**named, **_destination(subject)}):
        yield


@contextmanager
def processing(subject: str) -> Iterator[None]:
    """Record the handling of one delivery."""
    named = {"messaging.operation.name": "process", "messaging.operation.type": "process"}
    with timed(_processed, {**named, **_destination(subject)}):
        yield


def _destination(subject: str) -> Mapping[str, str]:
    template = subjects.family(subject)
    return {"messaging.system": "nats", "messaging.destination.template": template}
