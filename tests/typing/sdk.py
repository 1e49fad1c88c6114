"""The types of the SDK, as mypy checks them: each ``type: ignore`` is an error that it has to find.

mypy reads this file, and nothing runs it.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, assert_type

from trimtab import (
    BadModule,
    Container,
    ContainerTask,
    Directory,
    File,
    K8sObjectMetadata,
    K8sPod,
    LaunchPlan,
    LeaseLost,
    Module,
    Pool,
    PythonTask,
    ResourceEntry,
    ResourceName,
    Resources,
    RuntimeMetadata,
    TaskNodeConfigOverride,
    load_module,
    pools,
    reference_launch_plan,
    reference_task,
    reference_workflow,
    runtime_override_config,
    task,
    workflow,
)
from trimtab.workflows.definitions.overrides import RuntimeOverride
from trimtab.workflows.definitions.workflow_functions import WorkflowFunction
from trimtab.workflows.graphs.node_overrides import NodeOverrides


@task
def plain(rows: int, name: str = "a") -> float:
    return rows / 2


@task(
    name="trainer",
    task_type="spark",
    resources=Resources(cpu=("1", None), mem="1Gi", gpu=1, ephemeral_storage=0.5),
    cache=True,
    cache_version="1",
    cache_serialize=False,
    retries=0,
    timeout=timedelta(hours=1),
    interruptible=False,
    container_image="train:v1",
    environment={"MODE": "fast"},
    task_config={"executors": 2},
    pod_template=K8sPod(pod_spec={"hostNetwork": True}),
    accelerator="nvidia-tesla-t4",
    shared_memory=True,
    pool=Pool("warehouse", quota=2),
    weight=2,
)
def configured(rows: int) -> float:
    return rows / 2


plain(1)
plain(1, "b")
plain(rows=1, name="b")
configured(rows=1)
plain("1")  # type: ignore[arg-type]
plain(rows=1, nam="b")  # type: ignore[call-arg]
plain()  # type: ignore[call-arg]
configured(rows="1")  # type: ignore[arg-type]
task(retires=1)  # type: ignore[call-overload]
task(cache="yes")  # type: ignore[call-overload]
assert_type(task(retries=1)(lambda: 1), PythonTask[[]])
assert_type(plain(1), Any)

counts = ContainerTask(
    name="count",
    image="count:v1",
    command=["count"],
    arguments=["{{.inputs.table}}"],
    inputs={"table": str},
    outputs=int,
    resources=Resources(cpu=1),
    environment={},
    timeout=timedelta(minutes=1),
)
assert_type(counts(table="a"), Any)
ContainerTask(name="count")  # type: ignore[call-arg]
ContainerTask(name="count", image="count:v1", container_image="a")  # type: ignore[call-arg]


@reference_task(project="shop", domain="production", name="train", version="v3")
def referenced(rows: int) -> float:
    raise NotImplementedError


@reference_workflow(project="shop", domain="production", name="train", version="v3")
def referenced_workflow(rows: int) -> float:
    raise NotImplementedError


@reference_launch_plan(project="shop", domain="production", name="train", version="v3")
def referenced_plan(rows: int) -> float:
    raise NotImplementedError


referenced(rows=1)
referenced(row=1)  # type: ignore[call-arg]
referenced_workflow("1")  # type: ignore[arg-type]
referenced_plan(rows=None)  # type: ignore[arg-type]


@workflow
def nightly(rows: int) -> float:
    result = plain(rows=rows).with_runtime_override("trainer", runtime_override_config(cpu=2))
    assert_type(result, Any)
    last: float = configured(rows=rows).with_overrides(node_name="last", retries=1)
    return last


assert_type(nightly, WorkflowFunction)

override = TaskNodeConfigOverride(
    resources=Resources(cpu=1),
    cache=False,
    cache_serialize=False,
    cache_version="",
    retries=0,
    timeout=0,
    interruptible=False,
    container_image="train:v1",
    environment={},
    task_config={},
    pod_template=K8sPod(),
    accelerator="",
    shared_memory="1Gi",
)
assert_type(override.retries, int | None)
assert_type(runtime_override_config(cpu=1, mem=(None, "1Gi"), gpu=0, retries=1), NodeOverrides)
TaskNodeConfigOverride(retries="1")  # type: ignore[arg-type]
TaskNodeConfigOverride(retires=1)  # type: ignore[call-arg]
runtime_override_config(memory="1Gi")  # type: ignore[call-arg]
runtime_override_config(cpu=[1, 2])  # type: ignore[arg-type]
either: list[RuntimeOverride] = [override, runtime_override_config(cpu=1)]

plan = LaunchPlan.get_or_create(
    workflow=nightly,
    name="large",
    inputs={"rows": 5},
    runtime_override={"trainer": override, "n0/trainer": runtime_override_config(cpu=1)},
    environment={},
    labels={},
    annotations={},
    max_parallelism=5,
    interruptible=False,
    overwrite_cache=True,
    execution_cluster_label="gpu",
)
assert_type(plan, LaunchPlan)
assert_type(LaunchPlan.get_or_create(workflow=nightly), LaunchPlan)
LaunchPlan.get_or_create(workflow=plain)  # type: ignore[arg-type]
LaunchPlan.get_or_create(workflow=nightly, lables={})  # type: ignore[call-arg]

entry = ResourceEntry(name=ResourceName.CPU, value="500m")
resources = Resources(requests=[entry], limits=[entry])
assert_type(resources.requests[0].value, str)
assert_type(resources.limits[0].name, ResourceName)
ResourceEntry(name="cpu", value="1")  # type: ignore[arg-type]
ResourceEntry(name=ResourceName.GPU, value=1)  # type: ignore[arg-type]
Resources(cpu=["1", "2"])  # type: ignore[arg-type]
Resources(requests=["1"])  # type: ignore[list-item]

container = Container(
    image="train:v1", command=["python"], args=[], resources=resources, env={}, config={}
)
assert_type(container.resources.requests[0].value, str)
container.image = "other:v1"  # type: ignore[misc]
pod = K8sPod(
    metadata=K8sObjectMetadata(labels={"a": "b"}, annotations={}),
    pod_spec={"containers": []},
    primary_container_name="main",
)
assert_type(pod.metadata, K8sObjectMetadata)
task(container=container, pod=pod)
task(container=pod)  # type: ignore[call-overload]

metadata = RuntimeMetadata(
    type=RuntimeMetadata.RuntimeType.FLYTE_SDK, version="1.2", flavor="Python"
)
assert_type(metadata.version, str)
try:
    assert_type(load_module("nightly.py"), Module)
except BadModule as error:
    assert_type(error.line, int | None)


async def holds_a_token() -> None:
    async with pools("nats://localhost") as connected:
        holding = connected.token("warehouse", project="shop", domain="development", weight=2)
        try:
            async with holding as lease:
                assert_type(lease.held, bool)
        except LeaseLost as lost:
            assert_type(lost.delay_seconds, float | None)


assert_type(File("rows.csv").path, Path)
assert_type(Directory("rows").uri, str)
wrapped: Callable[[int], object] = plain
