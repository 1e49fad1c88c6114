"""Tasks: their arguments, targets and configuration."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trimtab import (
    Container,
    ContainerTask,
    K8sPod,
    PythonTask,
    Resources,
    TaskNodeConfigOverride,
    load_module,
    runtime_override_config,
    task,
    workflow,
)
from trimtab.errors import Invalid, Rejected
from trimtab.workflows.graphs import targets
from trimtab.workflows.graphs.node_overrides import NodeOverrides

IMAGE = Container(
    image="train:v1", command=["python"], args=["{{.inputs.rows}}"], resources=Resources(cpu="1")
)
POD = K8sPod(pod_spec={"containers": [{"name": "primary", "image": "train:v1"}]})


@dataclass
class Spark:
    executors: int = 2


@dataclass
class Ray:
    executors: int = 2


def train(rows: int) -> float:
    return rows / 2


def test_a_container_is_the_target_and_its_values_can_be_overridden() -> None:
    defined = task(container=IMAGE, retries=1)(train)
    assert isinstance(defined, PythonTask)
    assert defined.graph.type == "container"
    assert defined.graph.target == targets.Container(
        command=("python",), args=("{{.inputs.rows}}",)
    )
    assert defined.graph.config == runtime_override_config(
        container_image="train:v1", cpu=1, retries=1
    )
    assert defined(4) == 2


def test_a_pod_is_the_target_and_a_pod_template_is_not() -> None:
    target, template = task(pod=POD)(train).graph, task(pod_template=POD)(train).graph
    assert (target.type, target.target) == ("pod", targets.Pod())
    assert (template.type, template.target) == ("python", targets.Function())
    assert target.config == template.config == NodeOverrides(pod_template=POD.template())


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"cache": True}, "cache_version"),
        ({"cache": True, "cache_version": ""}, "cache_version"),
        ({"container": IMAGE, "pod": POD}, "pod_template"),
        ({"container": IMAGE, "resources": Resources(mem=1)}, "resources"),
        ({"container": IMAGE, "container_image": "train:v2"}, "container_image"),
        ({"container": IMAGE, "environment": {}}, "environment"),
        ({"pod": POD, "pod_template": POD}, "pod_template"),
        ({"container": "train:v1"}, "container"),
        ({"pod": {}}, "pod"),
        ({"pool": 3}, "pool"),
        ({"pool": "a b"}, "pool a b: name"),
        ({"weight": 0}, "weight"),
        ({"name": "a b"}, "name"),
        ({"name": ""}, "name"),
        ({"task_type": ""}, "type"),
    ],
)
def test_wrong_arguments_are_refused_with_their_name(arguments: Any, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        task(**arguments)(train)
    assert refused.value.path == path


def test_the_configuration_of_a_task_has_its_class() -> None:
    config = task(task_config=Spark(), cache=True, cache_version="1")(train).graph.config
    assert config.task_config == {"executors": 2}
    assert config.task_config_type == f"{__name__}.Spark"


def test_an_override_of_another_class_is_refused_where_it_is_written() -> None:
    plain, spark = task(train), task(name="spark", task_config=Spark())(train)

    @workflow
    def inner(rows: int = 1) -> Any:
        return spark(rows=rows).with_runtime_override("trainer")

    def refusal(call: Any) -> str:
        def body() -> Any:
            return call()

        with pytest.raises(Invalid) as refused:
            workflow(body).graph("v", "")
        return refused.value.path

    ray = TaskNodeConfigOverride(task_config=Ray())
    text = runtime_override_config(task_config={"executors": "3"})
    assert refusal(lambda: spark(rows=1).with_overrides(task_config=Ray())) == (
        "spark: with_overrides.task_config_type"
    )
    assert refusal(lambda: spark(rows=1).with_runtime_override("a", ray)) == (
        "spark: hook a.task_config_type"
    )
    assert refusal(lambda: plain(rows=1).with_runtime_override("a", ray)) == (
        "train: hook a.task_config_type"
    )
    assert refusal(lambda: inner().with_overrides(task_config=Ray())) == (
        "inner: with_overrides.task_config_type"
    )
    assert refusal(lambda: inner().with_runtime_override("trainer", text)) == (
        "inner: hook trainer.task_config.executors"
    )
    assert refusal(lambda: inner().with_runtime_override("trainer", {})).startswith("inner: hook")


def test_overrides_accept_each_field() -> None:
    spark, seconds = task(task_config=Spark())(train), 5

    @workflow
    def runs() -> Any:
        return (
            spark(rows=1)
            .with_overrides(cache=False, timeout=seconds, task_config=Spark(4), pod_template=POD)
            .with_runtime_override("trainer", TaskNodeConfigOverride(shared_memory="1Gi"))
        )

    [node] = runs.graph("v", "").nodes
    assert node.hook is not None
    assert node.hook.default == NodeOverrides(shared_memory="1Gi")
    assert node.overrides.task_config == {"executors": 4}
    assert (node.overrides.cache, node.overrides.timeout_seconds) == (False, 5)


def test_a_container_task_is_called_like_a_function() -> None:
    count = ContainerTask(
        name="count-rows",
        image="count:v1",
        command=["count"],
        arguments=["{{.inputs.table}}"],
        inputs={"table": str},
        outputs=int,
        resources=Resources(cpu=1),
        environment={"MODE": "fast"},
        retries=2,
    )

    @workflow
    def counts(table: str) -> Any:
        return count(table=table)

    registered = counts.graph("v", "")
    [node] = registered.nodes
    assert node.task == "count-rows"
    assert registered.tasks["count-rows"].target == targets.Container(
        command=("count",), args=("{{.inputs.table}}",)
    )
    assert registered.tasks["count-rows"].config == runtime_override_config(
        container_image="count:v1", cpu=1, environment={"MODE": "fast"}, retries=2
    )
    assert __file__ in count.place
    with pytest.raises(Rejected, match="cannot run locally"):
        counts(table="a")


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "a b"}, {"image": "A"}, {"inputs": {"a b": int}}, {"command": "count"},
        {"retires": 2}, {"pod": POD},
    ],
)  # fmt: skip
def test_a_wrong_container_task_is_refused(arguments: Any) -> None:
    with pytest.raises(Invalid):
        ContainerTask(**{"name": "count", "image": "count:v1", **arguments})


SOURCE = """
from trimtab import ContainerTask, task, workflow

@task(name="double-it")
def double(x: int) -> int:
    return 2 * x

shout = ContainerTask(name="shout-it", image="shout:v1", inputs={"x": int})

@workflow
def runs():
    shout(x=double(x=1))
"""


def test_a_task_of_another_name_is_found_in_its_module(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(SOURCE)
    [registered] = load_module(tmp_path / "module.py").workflows
    assert registered.tasks["double-it"].target == targets.Function(name="double")
    assert registered.tasks["shout-it"].target.type == "container"
    assert registered.runtime is not None
    assert registered.runtime.flavor == "Python"
