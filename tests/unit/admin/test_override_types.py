"""Overrides of hooks that would change the type of a task's configuration are refused."""

from typing import Any

import pytest

from trimtab.errors import Invalid
from trimtab.workflows.graphs.graph import Hook, Node, Task, Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab.workflows.graphs.node_overrides import NodeOverrides
from trimtab_admin.executions import override_types


def config(**given: Any) -> NodeOverrides:
    return NodeOverrides(task_config=given)


def workflow(paths: tuple[str, ...] = ("",)) -> Workflow:
    own = NodeOverrides(task_config={"executors": 2}, task_config_type="Spark")
    return Workflow(
        name="nightly",
        version="1",
        tasks={"train": Task(name="train", config=own)},
        nodes=tuple(
            Node(id=f"n{n}", task="train", inputs={}, hook=Hook(name="trainer", path=path))
            for n, path in enumerate(paths)
        ),
    )


def plan(**overrides: NodeOverrides) -> LaunchPlan:
    return LaunchPlan(name="p", workflow="nightly", version="1", runtime_override=overrides)


def test_values_of_the_same_type_are_accepted() -> None:
    same = {"trainer": config(executors=3, driver="1g")}
    override_types.check(workflow(), plan(**same), same)


@pytest.mark.parametrize(
    ("of_plan", "of_execution", "path"),
    [
        ({}, {"trainer": config(executors="3")}, "overrides.trainer.task_config.executors"),
        (
            {"trainer": config(executors="3")},
            {},
            "launch_plan.runtime_override.trainer.task_config.executors",
        ),
        (
            {"trainer": config(driver="1g")},
            {"trainer": config(driver=1)},
            "overrides.trainer.task_config.driver",
        ),
        (
            {},
            {"trainer": config(driver="1g"), "n1/trainer": config(driver=1)},
            "overrides.n1/trainer.task_config.driver",
        ),
        (
            {},
            {"trainer": NodeOverrides(task_config_type="Hive")},
            "overrides.trainer.task_config_type",
        ),
    ],
)
def test_another_type_is_refused_with_the_override(
    of_plan: dict[str, NodeOverrides], of_execution: dict[str, NodeOverrides], path: str
) -> None:
    with pytest.raises(Invalid) as refused:
        override_types.check(workflow(("n0", "n1")), plan(**of_plan), of_execution)
    assert refused.value.path == path
