"""Logs as JSON lines, spans, and the trace context that messages carry.

Spans and metrics are exported where ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set; OpenTelemetry's SDK is
not loaded otherwise.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName"}
_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("trimtab")


class JsonLines(logging.Formatter):
    """One object a line: time, level, event, logger, and the fields given as ``extra``."""

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
    """For the whole process, once. Returns what is to be called before it ends."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=log_level, handlers=[handler], force=True)
    logging.getLogger("uvicorn.access").setLevel("WARNING")
    logging.getLogger("httpx").setLevel("WARNING")
    spans, measurements = _is_exported("TRACES"), _is_exported("METRICS")
    if not (spans or measurements):
        return lambda: None
    # Loading the SDK takes time and memory that an installation without it need not spend.
    from trimtab.runtime import exporting  # noqa: PLC0415

    return exporting.start(service, spans=spans, measurements=measurements)


def _is_exported(signal: str) -> bool:
    """As OpenTelemetry's specification has it, but nowhere by default."""
    if os.environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower() == "none":
        return False
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return any(os.environ.get(endpoint) for endpoint in endpoints)


def headers() -> dict[str, str]:
    """The current trace context as message headers; empty outside a trace."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier


def traceparent() -> str:
    """The current trace context as one text, to be stored with an outbox row."""
    return headers().get("traceparent", "")


def context_of(carrier: Mapping[str, str]) -> Context:
    """The trace context that a message or row carries."""
    return _propagator.extract(carrier)


@contextmanager
def span(
    name: str, carrier: Mapping[str, str] | None = None, kind: SpanKind = SpanKind.INTERNAL
) -> Iterator[trace.Span]:
    """A span under the current one, or under the one that the carrier names."""
    context = context_of(carrier) if carrier else None
    with _tracer.start_as_current_span(name, context=context, kind=kind) as current:
        yield current


@contextmanager
def consuming(subject: str, carrier: Mapping[str, str]) -> Iterator[None]:
    """The span of handling one message; named without its variable parts."""
    template = ".".join(subject.split(".")[:3])
    with span(f"process {template}", carrier, SpanKind.CONSUMER) as current:
        current.set_attribute("messaging.system", "nats")
        current.set_attribute("messaging.destination.name", subject)
        yield
