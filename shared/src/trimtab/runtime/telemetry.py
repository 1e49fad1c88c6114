"""Logs as JSON lines, spans, and the trace context in messages and rows.

Spans and metrics are exported where ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set. Otherwise
OpenTelemetry's SDK is not loaded.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from opentelemetry import trace
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName"}
_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("trimtab")


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object: time, level, event, logger, and the ``extra`` fields."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "event": record.getMessage(),
            "logger": record.name,
            **{name: value for name, value in vars(record).items() if name not in _PLAIN},
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            entry["trace_id"] = f"{span.trace_id:032x}"
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def set_up(service: str, log_level: str = "INFO") -> Callable[[], None]:
    """Set up logging and export, once per process. The result is to be called before the end."""
    set_up_logging(log_level)
    spans, measurements = _is_exported("TRACES"), _is_exported("METRICS")
    if not (spans or measurements):
        return lambda: None
    # Loading the SDK takes time and memory, which a process that exports nothing can save.
    from trimtab.runtime import exporting  # noqa: PLC0415

    return exporting.start(service, spans=spans, measurements=measurements)


def set_up_logging(log_level: str = "INFO") -> None:
    """Log JSON lines to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=log_level, handlers=[handler], force=True)
    logging.getLogger("uvicorn.access").setLevel("WARNING")
    logging.getLogger("httpx").setLevel("WARNING")


def _is_exported(signal: str) -> bool:
    """Follow OpenTelemetry's specification, except that nothing is exported by default."""
    if os.environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower() == "none":
        return False
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return any(os.environ.get(endpoint) for endpoint in endpoints)


def headers() -> dict[str, str]:
    """Return the current trace context as message headers; empty outside a trace."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier


def traceparent() -> str:
    """Return the current trace context as text, to be stored in a row; empty outside a trace."""
    return headers().get("traceparent", "")


@contextmanager
def span(
    name: str, carrier: Mapping[str, str] | None = None, kind: SpanKind = SpanKind.INTERNAL
) -> Iterator[trace.Span]:
    """Open a span under the one that the carrier (headers) names, else under the current one.

    Where spans are not exported and the carrier names none, there is nothing to open.
    """
    if carrier is not None and not _is_traced(carrier):
        yield trace.INVALID_SPAN
        return
    context = _propagator.extract(carrier) if carrier else None
    with _tracer.start_as_current_span(name, context=context, kind=kind) as current:
        yield current


def _is_traced(carrier: Mapping[str, str]) -> bool:
    is_exported = not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    return is_exported or "traceparent" in carrier


@contextmanager
def consuming(subject: str, carrier: Mapping[str, str]) -> Iterator[None]:
    """Open the span of handling one message. Its name has no names of entities in it."""
    template = ".".join(subject.split(".")[:3])
    with span(f"process {template}", carrier, SpanKind.CONSUMER) as current:
        current.set_attribute("messaging.system", "nats")
        current.set_attribute("messaging.destination.name", subject)
        yield
