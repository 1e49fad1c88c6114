"""The traces and metrics that an OTLP collector receives from the four services."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.collector import Collector, collecting
from tests.integration.all_services.conftest import DOMAIN, PROJECT
from tests.servers import PATIENCE_SECONDS
from tests.system import System
from trimtab.api.entities import PoolBody, ProjectBody
from trimtab.api.executions import ExecutionCreate, WorkflowBody
from trimtab.client import Client
from trimtab.levels import Scope
from trimtab.workflows.graphs.graph import Node, Task, Workflow

MODULE = """
import time
from trimtab import task
@task(pool="gpu", weight=2)
def hold(): time.sleep(0.5)
"""
DOCUMENTED = Path(__file__).parents[3] / "docs" / "telemetry.md"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def system(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        patched.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        patched.setenv("OTEL_METRIC_EXPORT_INTERVAL", "500")
        with System(tmp_path_factory.mktemp("observed") / "system") as system:
            yield system


@pytest.fixture
async def api(system: System) -> AsyncIterator[Client]:
    await system.until_ready()
    async with Client(system.url, system.token) as client:
        if PROJECT not in {project.name for project in await client.projects.list()}:
            await client.projects.create(ProjectBody(name=PROJECT))
        yield client


async def eventually(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():
            await asyncio.sleep(0.1)


async def test_one_trace_runs_from_the_put_to_the_manifest(
    collector: Collector, api: Client
) -> None:
    values = {"attributes": {"projectQuotaCpu": "77"}}
    await api.records.put("cluster_resource", Scope(DOMAIN, PROJECT), values, force=True)
    await eventually(
        lambda: (
            collector.traces_with("trimtab-admin", "PUT /api/v2/records/{kind}")
            & collector.traces_with("trimtab-admin", "publish trimtab.attributes")
            & collector.traces_with("trimtab-clusterres", "render namespace")
        )
    )


async def test_a_change_is_measured_from_the_call_to_the_manifest(
    collector: Collector, api: Client
) -> None:
    seen = collector.value
    values = {"attributes": {"projectQuotaCpu": "78"}}
    await api.records.put("cluster_resource", Scope(DOMAIN, PROJECT), values, force=True)
    put = {"http_request_method": "PUT", "http_route": "/api/v2/records/{kind}"}
    await eventually(lambda: seen("admin", "http.server.request.duration", **put))
    await eventually(lambda: seen("admin", "trimtab.admin.writes", trimtab_kind="cluster_resource"))
    published = {"messaging_destination_template": "trimtab.attributes.cluster_resource.>"}
    await eventually(lambda: seen("admin", "messaging.client.operation.duration", **published))
    await eventually(lambda: seen("clusterres", "trimtab.clusterres.render.duration"))
    await eventually(lambda: seen("clusterres", "trimtab.clusterres.delay"))
    await eventually(
        lambda: all(
            seen(service, "trimtab.view.revision") == seen("admin", "trimtab.settings.revision") > 0
            for service in ("clusterres", "propeller", "resmgr")
        )
    )


async def test_tokens_are_counted_by_pool_and_reason(collector: Collector, api: Client) -> None:
    await api.pools.put(PoolBody(name="gpu", quota=2))
    await api.workflows.create(WorkflowBody(project=PROJECT, domain=DOMAIN, workflow=holding()))
    await api.executions.create(ExecutionCreate(project=PROJECT, domain=DOMAIN, workflow="hold"))
    gpu = {"trimtab_pool": "gpu"}
    seen, allocations = collector.value, "trimtab.resmgr.allocations"
    granted, refused = {"trimtab_status": "granted"}, {"trimtab_limit": "quota"}
    await eventually(lambda: seen("resmgr", allocations, **gpu, **granted) >= 2)
    await eventually(lambda: seen("resmgr", allocations, **gpu, **refused))
    await eventually(lambda: seen("resmgr", "trimtab.resmgr.wait.duration"))
    assert seen("resmgr", "trimtab.resmgr.pool.quota", **gpu) == 2
    assert seen("resmgr", "db.client.operation.duration", db_system_name="redis")


async def test_executions_are_counted_by_outcome(collector: Collector) -> None:
    seen = collector.value
    succeeded = {"trimtab_event": "succeeded"}
    await eventually(lambda: seen("propeller", "trimtab.propeller.executions", **succeeded))
    await eventually(lambda: seen("propeller", "trimtab.propeller.admission.duration"))
    assert seen("propeller", "trimtab.propeller.nodes", trimtab_event="node_waiting")


def test_each_metric_is_documented_with_its_unit(collector: Collector) -> None:
    page = DOCUMENTED.read_text(encoding="utf-8")
    own = {f"| `{name}` | {unit} |" for name, unit in collector.units.items() if "otel" not in name}
    assert len(own) > 15
    assert not {row for row in own if row not in page}


def holding() -> Workflow:
    """Build a workflow of two tasks of which only one can hold its token at a time."""
    task = Task(name="hold", pool="gpu", weight=2)
    nodes = tuple(Node(id=name, task="hold", inputs={}) for name in ("n0", "n1"))
    return Workflow(
        name="hold",
        version="1",
        tasks={"hold": task},
        nodes=nodes,
        module=MODULE,
    )
