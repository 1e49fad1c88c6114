"""A collector of OTLP over HTTP, which stores spans and metrics for tests."""

import gzip
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

Attributes = frozenset[tuple[str, str]]


class Series(NamedTuple):
    """A metric of one service with one set of attributes."""

    service: str
    name: str
    attributes: Attributes


class Collector(ThreadingHTTPServer):
    """The spans and values that have arrived."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[tuple[str, str, bytes]] = []
        """Service, name and trace id of each span."""
        self.values: dict[Series, float] = {}
        """The last value of each series; for a histogram, the number of records."""
        self.units: dict[str, str] = {}
        """The unit of each metric."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def traces_with(self, service: str, name: str) -> set[bytes]:
        return {trace for of, span, trace in list(self.spans) if (of, span) == (service, name)}

    def value(self, service: str, name: str, **attributes: str) -> float:
        """Return the sum of all series with these attributes, ``_`` for a dot; 0 without any."""
        wanted = {(key.replace("_", "."), value) for key, value in attributes.items()}
        return sum(
            value
            for series, value in list(self.values.items())
            if (series.service, series.name) == (f"trimtab-{service}", name)
            and wanted <= series.attributes
        )

    def store_spans(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = dict(_attributes(resource.resource.attributes))["service.name"]
            for scope in resource.scope_spans:
                self.spans += [(service, span.name, span.trace_id) for span in scope.spans]

    def store_metrics(self, body: bytes) -> None:
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            service = dict(_attributes(resource.resource.attributes))["service.name"]
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    self.units[metric.name] = metric.unit
                    for attributes, value in _points(metric).items():
                        self.values[Series(service, metric.name, attributes)] = value


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        store = {"/v1/traces": self.server.store_spans, "/v1/metrics": self.server.store_metrics}
        store[self.path](body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        serving = threading.Thread(target=collector.serve_forever)
        serving.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            serving.join()


def _points(metric: Metric) -> Mapping[Attributes, float]:
    match metric.WhichOneof("data"):
        case "histogram":
            points = metric.histogram.data_points
            return {_attributes(point.attributes): point.count for point in points}
        case "sum" | "gauge" as sort:
            numbers = getattr(metric, sort).data_points
            return {_attributes(p.attributes): p.as_double or p.as_int for p in numbers}
        case other:
            raise ValueError(f"{metric.name} is a {other}")


def _attributes(found: Iterator[KeyValue]) -> Attributes:
    return frozenset((a.key, a.value.string_value or str(a.value.int_value)) for a in found)
