"""The service in this process, with templates and clusters in directories and a real NATS."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from starlette.applications import Starlette

from tests.servers import PATIENCE_SECONDS, NatsServer, free_port
from trimtab.messages import subjects
from trimtab.messages.events import (
    ClusterChanged,
    DomainChanged,
    Event,
    NamespaceStatus,
    ProjectChanged,
)
from trimtab_clusterres.app import build
from trimtab_clusterres.config import ClusterAccess, ClusterresConfig

COMMAND = [sys.executable, "-m", "trimtab_clusterres"]
QUOTA = """\
apiVersion: v1
kind: ResourceQuota
metadata: {name: quota}
spec: {hard: {limits.cpu: {{ cpu }}}}
"""
WORLD: tuple[Event, ...] = (
    DomainChanged(name="development"),
    ProjectChanged(name="alpha"),
    ClusterChanged(name="east"),
)
"""One namespace: alpha-development on east."""

Serving = Callable[[], AbstractAsyncContextManager[Starlette]]


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    directory = tmp_path / "templates"
    directory.mkdir()
    (directory / "quota.yaml").write_text(QUOTA)
    return directory


@pytest.fixture
def clusters(tmp_path: Path) -> Path:
    """The parent of the directories of the clusters east and west."""
    return tmp_path / "clusters"


@pytest.fixture
def cluster_timeout_seconds() -> float:
    """How long a cluster may take; a test that waits for the timeout sets a shorter one."""
    return PATIENCE_SECONDS


@pytest.fixture
def service_config(
    nats_server: NatsServer, templates: Path, clusters: Path, cluster_timeout_seconds: float
) -> ClusterresConfig:
    access = {name: ClusterAccess(directory=clusters / name) for name in ("east", "west")}
    return ClusterresConfig(
        nats_url=nats_server.url,
        templates=(templates,),
        clusters=access,
        cluster_timeout_seconds=cluster_timeout_seconds,
    )


@pytest.fixture
def serving(service_config: ClusterresConfig) -> Serving:
    """Return a context manager that runs the service."""

    @asynccontextmanager
    async def serve() -> AsyncIterator[Starlette]:
        app = build(service_config)
        async with app.router.lifespan_context(app):
            yield app

    return serve


class Statuses:
    """Collects the statuses of namespaces that the service publishes."""

    def __init__(self) -> None:
        self.seen: list[NamespaceStatus] = []
        self.traceparents: list[str] = []
        self._arrived = asyncio.Condition()

    async def take(self, message: Msg) -> None:
        async with self._arrived:
            self.seen.append(NamespaceStatus.model_validate_json(message.data))
            self.traceparents.append((message.headers or {}).get("traceparent", ""))
            self._arrived.notify_all()

    async def wait_for(self, predicate: Callable[[NamespaceStatus], bool]) -> NamespaceStatus:
        """Wait until the last status fulfils the predicate, and return it."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: self.seen and predicate(self.seen[-1]))
            return self.seen[-1]

    async def until(self, revision: int, state: str = "ready", cluster: str = "east") -> str:
        """Wait for a status of at least this revision, and return its error."""

        def found() -> list[NamespaceStatus]:
            return [
                status
                for status in self.seen
                if status.revision >= revision
                and (status.state, status.cluster) == (state, cluster)
            ]

        async with asyncio.timeout(PATIENCE_SECONDS), self._arrived:
            await self._arrived.wait_for(found)
        return found()[-1].error


@pytest.fixture
async def statuses(client: Client) -> Statuses:
    statuses = Statuses()
    await client.subscribe(subjects.ALL_NAMESPACES, cb=statuses.take)
    return statuses


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
            "TRIMTAB_LEADER_LEASE_SECONDS": "1",
            "TRIMTAB_CLUSTERS": json.dumps({"east": {"directory": str(clusters / "east")}}),
        }
    )
    try:
        yield process
    finally:
        if process.running is not None:
            process.end(signal.SIGKILL)
