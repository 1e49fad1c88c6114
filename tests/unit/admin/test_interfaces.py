"""Calls of what is registered elsewhere must fit its interface."""

from typing import Any

import pytest

from trimtab.errors import Invalid
from trimtab.workflows.graphs.expansion import Referenced, ReferenceKey
from trimtab.workflows.graphs.graph import (
    Binding,
    Constant,
    FromInput,
    FromNode,
    Interface,
    Node,
    Reference,
    Task,
    Workflow,
)
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab_admin.executions import interfaces

INTEGER, STRING = {"type": "integer"}, {"type": "string"}
COUNT = Interface(inputs={"rows": INTEGER, "name": STRING}, required=("rows",), output=INTEGER)
ANY = Interface()
KEY = ReferenceKey("task", "shop", "development", "count", "1")


def check(
    inputs: dict[str, Binding],
    expected: Interface = ANY,
    registered: Referenced | None = None,
    key: ReferenceKey = KEY,
) -> None:
    """Check a workflow that calls ``load``, which returns a text, and then the reference."""
    fields = dict(zip(ReferenceKey._fields, key, strict=True))
    workflow = Workflow(
        name="outer",
        version="1",
        inputs={"n": None, "text": None},
        schemas={"n": {"type": ["integer", "null"]}, "text": STRING},
        tasks={"load": Task(name="load", interface=Interface(output=STRING))},
        references={"count": Reference.model_validate({**fields, "interface": expected})},
        nodes=(
            Node(id="n0", task="load", inputs={}),
            Node(id="n1", reference="count", inputs=inputs),
        ),
    )
    if registered is None:
        task = Task(name="count", interface=COUNT)
        node = Node(id="n0", task="count", inputs={})
        registered = Referenced(
            Workflow(name="count", version="1", tasks={"count": task}, nodes=(node,))
        )
    interfaces.check(workflow, {key: registered}, lambda: False)


@pytest.mark.parametrize("rows", [Constant(value=3), FromInput(name="n")])
def test_inputs_that_may_fit_are_accepted(rows: Binding) -> None:
    check({"rows": rows})
    check({"rows": rows, "name": FromNode(node="n0")}, expected=COUNT)


@pytest.mark.parametrize(
    ("inputs", "name", "allowed"),
    [
        ({"rows": Constant(value="3")}, "rows", "an integer"),
        ({"rows": FromInput(name="text")}, "rows", "an integer"),
        ({"rows": FromNode(node="n0")}, "rows", "an integer"),
        ({}, "rows", "a value, because task count requires it"),
        (
            {"rows": Constant(value=3), "naem": Constant(value="x")},
            "naem",
            "the inputs of task count: rows, name; did you mean 'name'?",
        ),
    ],
)
def test_inputs_that_cannot_fit_are_refused(
    inputs: dict[str, Binding], name: str, allowed: str
) -> None:
    with pytest.raises(Invalid) as refused:
        check(inputs)
    assert (refused.value.path, refused.value.allowed) == (f"nodes.1.inputs.{name}", allowed)


@pytest.mark.parametrize(
    ("expected", "path"),
    [
        ({"inputs": {"rows": STRING}}, "inputs.rows"),
        ({"inputs": {"rows": INTEGER, "n": INTEGER}}, "inputs.n"),
        ({"inputs": {"name": STRING}}, "inputs.rows"),
        ({"output": STRING}, "output"),
    ],
)
def test_another_interface_than_the_author_expected_is_refused(
    expected: dict[str, Any], path: str
) -> None:
    with pytest.raises(Invalid) as refused:
        check({"rows": Constant(value=1)}, Interface.model_validate(expected))
    assert refused.value.path == f"references.count.interface.{path}"


def test_a_task_of_an_earlier_release_takes_every_input() -> None:
    task, node = Task(name="count"), Node(id="n0", task="count", inputs={})
    earlier = Workflow(name="count", version="1", tasks={"count": task}, nodes=(node,))
    check({"unknown": Constant(value=1)}, registered=Referenced(earlier))


def test_inputs_that_a_launch_plan_gives_are_not_required() -> None:
    node = Node(id="n0", task="count", inputs={})
    workflow = Workflow(
        name="nightly",
        version="1",
        inputs={"rows": None},
        required=("rows",),
        schemas={"rows": INTEGER},
        tasks={"count": Task(name="count")},
        nodes=(node,),
    )
    key = KEY._replace(type="launch_plan", name="weekly")
    plan = LaunchPlan(name="weekly", workflow="nightly", version="1", inputs={"rows": 1})
    check({}, registered=Referenced(workflow, plan), key=key)
    none = plan.model_copy(update={"inputs": {}})
    with pytest.raises(Invalid, match="because launch plan weekly requires it"):
        check({}, registered=Referenced(workflow, none), key=key)
