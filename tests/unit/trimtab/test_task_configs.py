"""An override keeps the class of a task's configuration, and the types of its keys."""

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from trimtab.errors import Invalid
from trimtab.workflows.graphs.node_overrides import NodeOverrides
from trimtab.workflows.graphs.task_configs import check_task_config, task_config_fields


@dataclass
class Spark:
    executors: int = 2


class Ray(BaseModel):
    workers: int = 1


OWN = NodeOverrides(
    task_config={"executors": 2, "conf": {"memory": "1g", "cores": None}, "tags": ["a"]},
    task_config_type="plugins.Spark",
)


def refusal(own: NodeOverrides, **override: Any) -> Invalid:
    with pytest.raises(Invalid) as refused:
        check_task_config("hook", own, NodeOverrides(**override))
    return refused.value


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"executors": 2.5},
        {"conf": {"memory": "", "cores": 4, "new": True}},
        {"tags": [], "other": {}},
    ],
)
def test_an_override_may_change_values_and_add_keys(config: dict[str, Any]) -> None:
    check_task_config("hook", OWN, NodeOverrides(task_config=config))


@pytest.mark.parametrize(
    ("config", "path", "allowed"),
    [
        ({"executors": "2"}, "executors", "a number"),
        ({"executors": True}, "executors", "a number"),
        ({"executors": None}, "executors", "a number"),
        ({"conf": ["memory"]}, "conf", "an object"),
        ({"conf": {"memory": 1}}, "conf.memory", "a string"),
        ({"tags": {}}, "tags", "a list"),
    ],
)
def test_a_key_keeps_its_type_at_every_depth(
    config: dict[str, Any], path: str, allowed: str
) -> None:
    refused = refusal(OWN, task_config=config)
    assert refused.path == f"hook.task_config.{path}"
    assert refused.allowed.startswith(allowed)


def test_a_configuration_of_another_class_is_refused() -> None:
    refused = refusal(OWN, task_config={}, task_config_type="plugins.Ray")
    assert (refused.path, refused.value) == ("hook.task_config_type", "plugins.Ray")
    assert refused.allowed == "plugins.Spark"
    check_task_config("hook", OWN, NodeOverrides(task_config={}, task_config_type="plugins.Spark"))


def test_a_task_without_a_configuration_gets_none_of_a_class() -> None:
    assert "none" in refusal(NodeOverrides(), task_config_type="plugins.Ray").allowed
    check_task_config("hook", NodeOverrides(), NodeOverrides(task_config={"a": 1}))


def test_dataclasses_and_models_are_objects_with_a_class_and_dicts_have_none() -> None:
    assert task_config_fields(Spark(3)) == {
        "task_config": {"executors": 3},
        "task_config_type": f"{__name__}.Spark",
    }
    assert task_config_fields(Ray())["task_config_type"] == f"{__name__}.Ray"
    assert task_config_fields({"a": {}}) == {"task_config": {"a": {}}}


@pytest.mark.parametrize("wrong", [Spark, "spark", 3, {"a": object()}, {"a": float("nan")}, [1]])
def test_a_configuration_that_is_no_object_of_json_is_refused(wrong: Any) -> None:
    with pytest.raises(Invalid, match="task_config"):
        task_config_fields(wrong)
