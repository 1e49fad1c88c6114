"""Models of registered workflows: consistent names, inputs, hooks."""

from typing import Any

import pytest
from pydantic import ValidationError

from trimtab.errors import Invalid
from trimtab.testing import workflow
from trimtab.workflows.graphs.graph import (
    MAX_LISTED_HOOKS,
    FromInput,
    FromNode,
    Hook,
    Node,
    Workflow,
)
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab.workflows.graphs.node_overrides import NodeOverrides

COUNT = Node(id="n0", task="count", inputs={"start": FromInput(name="start")})
DOUBLE = Node(id="n1", task="double", inputs={"number": FromNode(node="n0")})


def changed(**fields: Any) -> Workflow:  # Fields of the workflow.
    return workflow().model_copy(update={"inputs": {"start": 1}, **fields})


def test_a_workflow_with_consistent_names_is_accepted() -> None:
    workflow().check()
    changed(nodes=(COUNT, DOUBLE)).check()


@pytest.mark.parametrize(
    ("graph", "path", "allowed"),
    [
        (changed(nodes=(COUNT, COUNT)), "nodes.1.id", "an id that no other node has"),
        (
            changed(nodes=(COUNT.model_copy(update={"task": "halve"}),)),
            "nodes.0.task",
            "count, double",
        ),
        (changed(nodes=(DOUBLE, COUNT)), "nodes.0.inputs.number", "comes before this one"),
        (changed(nodes=(COUNT,), inputs={"end": 1}), "nodes.0.inputs.start", "an input: end"),
        (changed(required=("end",)), "required", "inputs start"),
        (changed(output=FromNode(node="n7")), "output", "comes before this one"),
        (
            changed(
                nodes=tuple(
                    node.model_copy(update={"hook": Hook(name="trainer")})
                    for node in (COUNT, DOUBLE)
                )
            ),
            "nodes.1.hook",
            "a hook that no other node has",
        ),
    ],
)
def test_inconsistent_names_are_refused_with_their_path(
    graph: Workflow, path: str, allowed: str
) -> None:
    with pytest.raises(Invalid) as refused:
        graph.check()
    assert refused.value.path == path
    assert allowed in refused.value.allowed


def test_a_node_waits_for_the_nodes_whose_outputs_are_its_inputs() -> None:
    assert COUNT.waits_for == frozenset()
    assert DOUBLE.waits_for == {"n0"}


def test_absent_inputs_have_their_defaults() -> None:
    graph = changed(inputs={"start": 1, "end": None}, required=("end",))
    assert graph.bind_inputs({"end": 5}) == {"start": 1, "end": 5}
    assert graph.bind_inputs({"end": None, "start": 0}) == {"start": 0, "end": None}


@pytest.mark.parametrize(
    ("given", "path"), [({}, "inputs.end"), ({"end": 1, "middle": 2}, "inputs.middle")]
)
def test_missing_or_unknown_inputs_are_refused(given: dict[str, Any], path: str) -> None:
    graph = changed(inputs={"start": 1, "end": None}, required=("end",))
    with pytest.raises(Invalid) as refused:
        graph.bind_inputs(given)
    assert refused.value.path == path


def test_an_override_of_an_unknown_hook_is_refused_with_the_names_of_all_hooks() -> None:
    overrides = {"traner": NodeOverrides(retries=1)}
    workflow().check_hooks("overrides", {"trainer": NodeOverrides()})
    with pytest.raises(Invalid, match=r"overrides\.traner: .*allowed: the hooks trainer"):
        workflow().check_hooks("overrides", overrides)
    with pytest.raises(Invalid, match="no node of the workflow has a hook"):
        changed(nodes=(COUNT, DOUBLE)).check_hooks("overrides", overrides)


def hooked(*hooks: tuple[str, str]) -> Workflow:
    """Return an expanded workflow of nodes with hooks, each given by its path and name."""
    nodes = [
        COUNT.model_copy(update={"id": f"n{number}", "hook": Hook(name=name, path=path)})
        for number, (path, name) in enumerate(hooks)
    ]
    return changed(nodes=tuple(nodes))


def test_a_hook_of_several_nodes_is_listed_with_its_paths() -> None:
    graph = hooked(("", "loader"), ("n0", "trainer"), ("n1", "trainer"))
    graph.check_hooks("overrides", {"n1/trainer": NodeOverrides(), "trainer": NodeOverrides()})
    listed = "the hooks loader, trainer, n0/trainer, n1/trainer"
    with pytest.raises(Invalid, match=listed):
        graph.check_hooks("overrides", {"n2/trainer": NodeOverrides()})


def test_of_very_many_hooks_some_are_listed() -> None:
    graph = hooked(*(("", f"h{number}") for number in range(MAX_LISTED_HOOKS + 5)))
    with pytest.raises(Invalid, match=f"h{MAX_LISTED_HOOKS - 1} and 5 more"):
        graph.check_hooks("overrides", {"trainer": NodeOverrides()})


def test_overrides_distinguish_absent_fields_from_zero_and_false() -> None:
    given = NodeOverrides.model_validate({"retries": 0, "interruptible": False})
    assert given.model_dump(exclude_unset=True) == {"retries": 0, "interruptible": False}
    assert NodeOverrides().model_dump(exclude_unset=True) == {}


@pytest.mark.parametrize(
    "overrides",
    [
        {"retries": -1},
        {"container_image": ""},
        {"resources": {"requests": {"cpu": "much"}}},
        {"resource": {}},
    ],
)
def test_overrides_with_wrong_values_are_refused(overrides: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NodeOverrides.model_validate(overrides)


@pytest.mark.parametrize("name", ["", "-train", "a b", "a/b", "x" * 201])
def test_a_name_of_a_launch_plan_that_breaks_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        LaunchPlan(name=name, workflow="train", version="v1")


@pytest.mark.parametrize("id", ["", "..", "../x1/n0", "/tmp/n0", "a\0b", "n" * 3000])
def test_an_id_of_a_node_that_breaks_the_grammar_is_refused(id: str) -> None:
    """It is a part of the path of an attempt's directory and of the key of a row."""
    with pytest.raises(ValidationError, match="id"):
        Node(id=id, task="step", inputs={})
