"""One trace runs from the PUT that changed a setting to the manifests that followed."""

import asyncio
import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.conftest import DOMAIN, PROJECT
from tests.system import System
from trimtab.api import ProjectBody
from trimtab.client import Client
from trimtab.levels import Scope


class Collector(ThreadingHTTPServer):
    """Takes spans as an OTLP collector does, over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[tuple[str, str, bytes]] = []
        """Service, name and trace id."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def traces_with(self, service: str, name: str) -> set[bytes]:
        return {trace for at, what, trace in list(self.spans) if (at, what) == (service, name)}


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.server.spans += [
                    (names["service.name"], span.name, span.trace_id) for span in scope.spans
                ]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Nothing: the test looks at the spans."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as collector:
        serving = threading.Thread(target=collector.serve_forever)
        serving.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        yield collector
        collector.shutdown()
        serving.join()


async def test_one_trace_runs_from_the_put_to_the_manifest(
    collector: Collector, tmp_path: Path
) -> None:
    with System(tmp_path / "system") as system:
        await system.until_ready()
        async with Client(system.url, system.token) as client:
            await client.projects.create(ProjectBody(name=PROJECT))
            values = {"attributes": {"projectQuotaCpu": "77"}}
            await client.records.put("cluster_resource", Scope(DOMAIN, PROJECT), values, force=True)
        async with asyncio.timeout(30):
            while not (
                collector.traces_with("trimtab-admin", "PUT /records/{kind}")
                & collector.traces_with("trimtab-admin", "publish trimtab.attributes")
                & collector.traces_with("trimtab-clusterres", "render namespace")
            ):
                await asyncio.sleep(0.1)
