"""The export of a process to a collector, configured by OpenTelemetry's own variables."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.collector import Collector, collecting

SERVICE = """
import sys
from trimtab.runtime import metrics, telemetry
flush = telemetry.set_up("test")
metrics.meter.create_counter("answers").add(42)
with telemetry.span("work"):
    pass
flush()
print("opentelemetry.sdk" in sys.modules)
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def run_service(**environment: str) -> str:
    """Run the process and return its output: whether it has loaded the SDK."""
    plain = {key: value for key, value in os.environ.items() if key[:5] != "OTEL_"}
    command = [sys.executable, "-c", SERVICE]
    return subprocess.check_output(command, env=plain | environment, text=True).strip()


def test_the_last_values_are_sent_before_the_process_ends(collector: Collector) -> None:
    run_service(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
    assert collector.value("test", "answers") == 42
    assert collector.traces_with("trimtab-test", "work")


def test_one_signal_can_be_sent_alone(collector: Collector) -> None:
    run_service(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, OTEL_METRICS_EXPORTER="none")
    assert (len(collector.spans), len(collector.values)) == (1, 0)
    run_service(OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{collector.endpoint}/v1/metrics")
    assert (len(collector.spans), len(collector.values)) == (1, 1)


def test_without_a_collector_the_sdk_is_not_loaded() -> None:
    assert run_service() == "False"
