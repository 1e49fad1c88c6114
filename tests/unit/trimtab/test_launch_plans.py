"""Launch plans: their values, and what is refused where they are defined."""

from typing import Any

import pytest

from trimtab import (
    LaunchPlan,
    TaskNodeConfigOverride,
    reference_workflow,
    runtime_override_config,
    task,
    workflow,
)
from trimtab.errors import Invalid
from trimtab.workflows.definitions.workflow_functions import WorkflowFunction


def nightly() -> WorkflowFunction:
    @task(task_config={"executors": 2})
    def train(rows: int) -> int:
        return rows

    @workflow
    def monthly(rows: int) -> int:
        result: int = train(rows=rows).with_runtime_override(
            "trainer", runtime_override_config(task_config={"memory": "1Gi"})
        )
        return result

    @workflow
    def yearly(rows: int = 1) -> int:
        result: int = monthly(rows=rows)
        return result

    return yearly


@reference_workflow(project="shop", domain="production", name="train", version="v3")
def elsewhere(rows: int) -> int:
    raise NotImplementedError


def test_both_forms_of_overrides_and_hooks_with_a_path_are_accepted() -> None:
    wanted = nightly()
    overrides = {
        "trainer": TaskNodeConfigOverride(retries=0),
        "n0/trainer": runtime_override_config(cpu=2, task_config={"executors": 3}),
    }
    plan = LaunchPlan.get_or_create(
        workflow=wanted, name="large", inputs={"rows": 5}, runtime_override=overrides
    )
    registered = plan.graph(wanted.graph("v", ""))
    assert registered.runtime_override["trainer"] == runtime_override_config(retries=0)
    assert registered.runtime_override["n0/trainer"].task_config == {"executors": 3}
    assert registered.inputs == {"rows": 5}


@pytest.mark.parametrize(
    ("arguments", "path", "allowed"),
    [
        ({"runtime_override": {"trianer": NotImplemented}}, "runtime_override.trianer", "Task"),
        ({"runtime_override": ["trainer"]}, "runtime_override", "a dict"),
        ({"inputs": {"row": 1}}, "launch plan large: inputs.row", "rows"),
        ({"inputs": {"rows": "many"}}, "launch plan large: inputs.rows", "integer"),
        ({"environment": {"A=": ""}}, "environment.A=", "letters"),
        ({"labels": {"a b": ""}}, "labels", "letters"),
        ({"max_parallelism": 0}, "max_parallelism", "at least 1"),
        ({"interruptible": 1}, "interruptible", "true or false"),
        ({"lables": {}}, "argument", "did you mean 'labels'"),
    ],
)
def test_wrong_values_are_refused_with_their_argument(
    arguments: Any, path: str, allowed: str
) -> None:
    wanted = nightly()
    with pytest.raises(Invalid) as refused:
        LaunchPlan.get_or_create(workflow=wanted, name="large", **arguments)
    assert refused.value.path.startswith(path)
    assert allowed in refused.value.allowed
    assert wanted.launch_plans == {}


@pytest.mark.parametrize("hook", ["trianer", "n1/trainer", "n0/trianer", "train"])
def test_an_unknown_hook_lists_the_known_ones(hook: str) -> None:
    with pytest.raises(Invalid, match="the hooks of yearly: trainer"):
        LaunchPlan.get_or_create(
            workflow=nightly(), name="large", runtime_override={hook: runtime_override_config()}
        )


def test_hooks_that_may_be_in_a_referenced_workflow_are_left_to_the_server() -> None:
    @workflow
    def calls() -> int:
        result: int = elsewhere(rows=1)
        return result

    plan = LaunchPlan.get_or_create(
        workflow=calls, name="large", runtime_override={"any": runtime_override_config(retries=1)}
    )
    assert list(plan.runtime_override) == ["any"]


@pytest.mark.parametrize(
    ("config", "path"), [({"executors": "3"}, "executors"), ({"memory": 1}, "memory")]
)
def test_the_types_of_a_configuration_and_of_its_default_stay(config: Any, path: str) -> None:
    override = runtime_override_config(task_config=config)
    with pytest.raises(Invalid) as refused:
        LaunchPlan.get_or_create(
            workflow=nightly(), name="large", runtime_override={"trainer": override}
        )
    assert refused.value.path == f"launch plan large: runtime_override.trainer.task_config.{path}"


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("inputs", {"rows": 2}),
        ("runtime_override", {}),
        ("labels", {"a": "c"}),
        ("environment", {"A": "2"}),
        ("max_parallelism", None),
        ("interruptible", False),
        ("overwrite_cache", True),
        ("execution_cluster_label", "gpu"),
    ],
)
def test_a_second_definition_has_the_same_values(argument: str, value: Any) -> None:
    wanted = nightly()
    given: Any = {
        "inputs": {"rows": 1},
        "runtime_override": {"trainer": runtime_override_config(cpu=1)},
        "labels": {"a": "b"},
        "environment": {"A": "1"},
        "max_parallelism": 3,
    }
    first = LaunchPlan.get_or_create(workflow=wanted, name="large", **given)
    assert LaunchPlan.get_or_create(workflow=wanted, name="large", **given) is first
    with pytest.raises(Invalid, match="'large', which exists") as refused:
        LaunchPlan.get_or_create(workflow=wanted, name="large", **{**given, argument: value})
    assert refused.value.path == argument


def test_without_a_name_it_is_the_default_launch_plan_which_has_no_values() -> None:
    wanted = nightly()
    default = LaunchPlan.get_or_create(workflow=wanted)
    assert default.graph(wanted.graph("v", "")).name == "yearly"
    assert wanted.launch_plans == {}
    with pytest.raises(Invalid, match="give it a name"):
        LaunchPlan.get_or_create(workflow=wanted, labels={"a": "b"})
    with pytest.raises(Invalid, match="default launch plan"):
        LaunchPlan.get_or_create(workflow=wanted, name="yearly")
    with pytest.raises(Invalid, match="@workflow"):
        LaunchPlan.get_or_create(workflow=len, name="large")  # type: ignore[arg-type]
