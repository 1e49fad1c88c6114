"""The export of spans and metrics over OTLP, configured by the standard ``OTEL_…`` variables.

This module loads OpenTelemetry's SDK, so it is imported only where a collector is configured.
"""

from collections.abc import Callable, Sequence
from threading import Thread
from uuid import uuid4

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

_LAST_SECONDS = 2.0
"""The longest delay of the exit by a collector that is away; the SDK would wait 30 seconds."""


def _resource(service: str) -> Resource:
    # Without it, a backend takes the counters of two replicas for one that goes up and down.
    instance = {"service.instance.id": str(uuid4())}
    return Resource.create({"service.name": f"trimtab-{service}", **instance})


def start(service: str, *, spans: bool, measurements: bool) -> Callable[[], None]:
    """Start the export, once per process. The result is to be called before the process ends."""
    resource = _resource(service)
    shutdowns: list[Callable[[], None]] = []
    if spans:
        tracing = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(tracing)
        shutdowns.append(tracing.shutdown)
    if measurements:
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        metering = MeterProvider([reader], resource, shutdown_on_exit=False)
        metrics.set_meter_provider(metering)
        shutdowns.append(metering.shutdown)
    return lambda: _flush(shutdowns)


def _flush(shutdowns: Sequence[Callable[[], None]]) -> None:
    """Send what is pending, within `_LAST_SECONDS`."""
    threads = [Thread(target=shutdown, daemon=True) for shutdown in shutdowns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_LAST_SECONDS / len(threads))
