"""Sends spans and metrics away over OTLP, as the standard ``OTEL_…`` variables say.

It loads OpenTelemetry's SDK, so it is imported only where there is somewhere to send them.
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
"""How long the last spans and metrics may delay the end; the SDK would take half a minute."""


def _resource(service: str) -> Resource:
    # The sums of replicas must not be taken for those of one process that jumps to and fro.
    instance = {"service.instance.id": str(uuid4())}
    return Resource.create({"service.name": f"trimtab-{service}", **instance})


def start(service: str, *, spans: bool, measurements: bool) -> Callable[[], None]:
    """For the whole process, once. Returns what is to be called before it ends."""
    resource = _resource(service)
    ends: list[Callable[[], None]] = []
    if spans:
        tracing = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(tracing)
        ends.append(tracing.shutdown)
    if measurements:
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        metering = MeterProvider([reader], resource, shutdown_on_exit=False)
        metrics.set_meter_provider(metering)
        ends.append(metering.shutdown)
    return lambda: _end(ends)


def _end(ends: Sequence[Callable[[], None]]) -> None:
    """Send what is pending, but keep nobody waiting for a collector that is away."""
    ending = [Thread(target=end, daemon=True) for end in ends]
    for thread in ending:
        thread.start()
    for thread in ending:
        thread.join(_LAST_SECONDS / len(ending))
