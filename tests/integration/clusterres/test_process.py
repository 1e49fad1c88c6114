"""The service as a process, as it is deployed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.integration.clusterres.conftest import PATIENCE_SECONDS, WORLD, Statuses
from tests.servers import NatsServer, free_port
from tests.settings_stream import SettingsStream
from trimtab.levels import PLATFORM
from trimtab.messages.events import RecordChanged

COMMAND = [sys.executable, "-m", "trimtab_clusterres"]


class Process:
    """Starts and ends the service, on a port of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.port = free_port()
        self.environment = os.environ | environment | {"TRIMTAB_PORT": str(self.port)}
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.running = subprocess.Popen(COMMAND, env=self.environment)

    def end(self, how: signal.Signals) -> int:
        process, self.running = self.running, None
        assert process is not None
        process.send_signal(how)
        return process.wait(PATIENCE_SECONDS)

    async def ready(self) -> dict[str, object]:
        """Wait until it is ready, and return the body of ``/readyz``."""
        url = f"http://127.0.0.1:{self.port}/readyz"
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            httpx.AsyncClient(timeout=PATIENCE_SECONDS) as http,
        ):
            while True:
                with suppress(httpx.TransportError):
                    answer = await http.get(url)
                    if answer.status_code == 200:
                        return dict(answer.json())
                    assert "settings" in answer.json()["reasons"]
                await asyncio.sleep(0.02)


@pytest.fixture
def process(nats_server: NatsServer, templates: Path, clusters: Path) -> Iterator[Process]:
    process = Process(
        {
            "TRIMTAB_NATS_URL": nats_server.url,
            "TRIMTAB_TEMPLATES": str(templates),
            "TRIMTAB_CLUSTERS": json.dumps({"east": {"directory": str(clusters / "east")}}),
        }
    )
    try:
        yield process
    finally:
        if process.running is not None:
            process.end(signal.SIGKILL)


async def test_it_is_ready_when_its_view_is_verified_and_ends_on_sigterm(
    process: Process, settings_stream: SettingsStream, statuses: Statuses
) -> None:
    values = RecordChanged.at(PLATFORM, "cluster_resource", {"attributes": {"cpu": "4"}})
    process.start()
    await settings_stream.announce(*WORLD, values)
    await statuses.until(settings_stream.revision)
    found = await process.ready()
    assert found["view"] == {
        "revision": settings_stream.revision,
        "count": len(WORLD) + 1,
        "digest": str(settings_stream.settings.digest),
    }
    assert process.end(signal.SIGTERM) == 0


async def test_after_a_crash_it_catches_up(
    process: Process, settings_stream: SettingsStream, statuses: Statuses, clusters: Path
) -> None:
    for cpu in ("4", "5"):
        values = RecordChanged.at(PLATFORM, "cluster_resource", {"attributes": {"cpu": cpu}})
        await settings_stream.announce(*WORLD, values)
        process.start()
        await statuses.until(settings_stream.revision)
        process.end(signal.SIGKILL)
    manifest = clusters / "east/alpha-development/ResourceQuota-quota.yaml"
    assert "limits.cpu: 5" in manifest.read_text()


def test_a_missing_variable_ends_the_start_with_one_sentence() -> None:
    environment = {name: value for name, value in os.environ.items() if "TRIMTAB" not in name}
    ended = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("configuration templates: ")
    assert "Traceback" not in ended.stderr
