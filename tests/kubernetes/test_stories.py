"""The service as a process, with several clusters, many namespaces, and many changes."""

import asyncio
import json
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.integration.clusterres.conftest import Statuses
from tests.integration.clusterres.test_process import Process
from tests.kubernetes import faults
from tests.kubernetes.clusters import Cluster
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.faults import FaultProxy
from tests.servers import PATIENCE_SECONDS, NatsServer
from tests.settings_stream import SettingsStream
from trimtab.levels import Scope
from trimtab.messages.events import (
    ClusterChanged,
    DomainChanged,
    Event,
    NamespaceStatus,
    ProjectChanged,
    RecordChanged,
)

TEMPLATE = """\
apiVersion: v1
kind: Namespace
metadata: {name: "{{ namespace }}"}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: quota}
spec: {hard: {limits.cpu: {{ cpu }}}}
"""
DEVELOPMENT = Scope("development")

Serve = Callable[[Mapping[str, Any]], Process]


@pytest.fixture
def serve(nats_server: NatsServer, tmp_path: Path) -> Iterator[Serve]:
    """Starts the service with clusters, by their names and how they are reached."""
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "namespace.yaml").write_text(TEMPLATE)
    started: list[Process] = []

    def start(clusters: Mapping[str, Any]) -> Process:
        variables = {
            "TRIMTAB_NATS_URL": nats_server.url,
            "TRIMTAB_TEMPLATES": str(templates),
            "TRIMTAB_CLUSTERS": json.dumps(clusters, default=str),
            "TRIMTAB_CLUSTER_TIMEOUT_SECONDS": str(PATIENCE_SECONDS),
        }
        started.append(Process(variables))
        started[-1].start()
        return started[-1]

    yield start
    for process in started:
        process.end(signal.SIGKILL)


def cpu(value: int) -> RecordChanged:
    """Return a change of the whole domain."""
    attributes = {"attributes": {"cpu": str(value)}}
    return RecordChanged.at(DEVELOPMENT, "cluster_resource", attributes)


def world(*projects: str, clusters: tuple[str, ...] = ("east",)) -> list[Event]:
    named = [ProjectChanged(name=project) for project in projects]
    return [
        DomainChanged(name="development"),
        *named,
        *(ClusterChanged(name=name) for name in clusters),
        cpu(1),
    ]


def limits(cluster: Cluster, prefix: str) -> dict[str, str]:
    """Return the limit of each quota by its namespace."""
    found = client.CoreV1Api(cluster.api).list_resource_quota_for_all_namespaces().items
    return {
        each.metadata.namespace: each.spec.hard["limits.cpu"]
        for each in found
        if each.metadata.namespace.startswith(prefix)
    }


async def test_clusters_that_are_down_or_hang_delay_no_other_and_catch_up(
    serve: Serve,
    cluster: Cluster,
    prefix: str,
    new_control_plane: Callable[[], ControlPlane],
    settings_stream: SettingsStream,
    statuses: Statuses,
) -> None:
    down, hanging = new_control_plane(), new_control_plane()
    kubeconfigs = {
        "east": cluster.kubeconfig,
        "west": down.kubeconfig,
        "north": hanging.kubeconfig,
    }
    limited = {"request_timeout_seconds": PATIENCE_SECONDS / 12}
    serve({name: limited | {"kubeconfig": path} for name, path in kubeconfigs.items()})
    projects = [f"{prefix}{number}" for number in range(6)]
    await settings_stream.announce(*world(*projects, clusters=tuple(kubeconfigs)))
    for name in kubeconfigs:
        await statuses.until(settings_stream.revision, cluster=name)
    down.api_server.kill()
    hanging.api_server.pause()
    failures = []
    for number in range(2, 12):
        await settings_stream.announce(cpu(number))
        await statuses.until(settings_stream.revision)
        failures.append(sum(is_failure_of("north", each) for each in statuses.seen))
    # Each change would wait for a failure where the clusters shared a queue.
    assert len({*failures}) < len(failures)
    for name in ("west", "north"):
        await statuses.until(settings_stream.revision - 5, "failed", cluster=name)
    down.api_server.start()
    hanging.api_server.resume()
    await settings_stream.announce(cpu(12))
    expected = dict.fromkeys([f"{project}-development" for project in projects], "12")
    for kubeconfig in kubeconfigs.values():
        await eventually(kubeconfig, prefix, expected)


def is_failure_of(cluster: str, status: NamespaceStatus) -> bool:
    return (status.cluster, status.state) == (cluster, "failed")


async def eventually(kubeconfig: Path, prefix: str, expected: dict[str, str]) -> None:
    """Wait until a cluster has exactly these limits."""
    reader = Cluster(kubeconfig)
    try:
        async with asyncio.timeout(3 * PATIENCE_SECONDS):
            while await asyncio.to_thread(limits, reader, prefix) != expected:
                await asyncio.sleep(0.05)
    finally:
        reader.close()


async def test_a_change_of_a_domain_reaches_its_200_namespaces(
    serve: Serve, kubeconfig: Path, prefix: str, settings_stream: SettingsStream
) -> None:
    serve({"east": {"kubeconfig": kubeconfig}})
    projects = [f"{prefix}{number}" for number in range(200)]
    await settings_stream.announce(*world(*projects))
    namespaces = [f"{project}-development" for project in projects]
    await eventually(kubeconfig, prefix, dict.fromkeys(namespaces, "1"))
    await settings_stream.announce(cpu(2))
    await eventually(kubeconfig, prefix, dict.fromkeys(namespaces, "2"))


async def test_a_burst_of_changes_costs_few_applies(
    serve: Serve,
    fault_proxy: FaultProxy,
    prefix: str,
    settings_stream: SettingsStream,
    statuses: Statuses,
) -> None:
    access = {"kubeconfig": fault_proxy.kubeconfig, "request_timeout_seconds": PATIENCE_SECONDS}
    process = serve({"east": access})
    await settings_stream.announce(*world(f"{prefix}one"))
    await statuses.until(settings_stream.revision)
    seen, published = len(fault_proxy.requests), asyncio.Event()
    rule = fault_proxy.add(faults.held(published), method="PATCH", path="/resourcequotas/", times=1)
    for number in range(2, 502):
        await settings_stream.put(cpu(number))
    await settings_stream.watermark()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await revision(process) != settings_stream.revision:
            await asyncio.sleep(0.02)
    published.set()
    await statuses.until(settings_stream.revision)
    paths = [each.path for each in fault_proxy.requests[seen:] if each.method == "PATCH"]
    assert rule.hits == 1
    assert len([path for path in paths if "/resourcequotas/" in path]) <= 3


async def revision(process: Process) -> int:
    """Return the revision of the settings that the service holds."""
    view = (await process.ready())["view"]
    assert isinstance(view, dict)
    return int(view["revision"])
