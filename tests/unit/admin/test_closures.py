"""Workflows with all that they call: expanded, and refused where no execution could run them."""

from typing import Any

import pytest

from trimtab.errors import Invalid
from trimtab.levels import Scope
from trimtab.settings.state import Settings
from trimtab.testing import request
from trimtab.workflows.graphs.expansion import Referenced, ReferenceKey
from trimtab.workflows.graphs.graph import (
    MAX_NODES,
    Constant,
    FromInput,
    FromNode,
    Graph,
    Hook,
    Node,
    Reference,
    Task,
    Workflow,
)
from trimtab.workflows.graphs.launch_plans import LaunchPlan, PlanCall
from trimtab.workflows.graphs.node_overrides import NodeOverrides
from trimtab.workflows.graphs.targets import Function
from trimtab_admin.executions import closures, sizes
from trimtab_admin.executions.target_settings import TargetSettings
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import resolve


def calls(workflow: str, number: int, **more: Any) -> tuple[Node, ...]:
    return tuple(Node(id=f"m{n}", workflow=workflow, inputs={}, **more) for n in range(number))


def graph(nodes: int, **more: Any) -> Graph:
    """Return a sub-workflow whose nodes all take its input."""
    given = {"x": FromInput(name="x")}
    return Graph(
        inputs={"x": None},
        nodes=tuple(Node(id=f"n{n}", task="step", inputs=given, **more) for n in range(nodes)),
        output=FromNode(node="n0"),
    )


def workflow(nodes: tuple[Node, ...], **more: Any) -> Workflow:
    fields = {"name": "large", "version": "1", "tasks": {"step": Task(name="step")}}
    return Workflow(**{**fields, "module": "def step(x): ...\n", "nodes": nodes, **more})


def nested(nodes: int, inner: Graph) -> Workflow:
    return workflow(calls("inner", nodes), workflows={"inner": inner})


def test_the_largest_workflow_of_sub_workflows_is_registered_and_admitted() -> None:
    hooked = graph(50, hook=None)
    first = hooked.nodes[0].model_copy(update={"hook": Hook(name="trainer")})
    hooked = hooked.model_copy(update={"nodes": (first, *hooked.nodes[1:])})
    expanded = closures.check_registration(nested(MAX_NODES // 50, hooked), {})
    assert len(expanded.nodes) == MAX_NODES
    creation = request(workflow_=expanded, overrides={"trainer": NodeOverrides(retries=2)})
    sizes.check(creation, TargetSettings.of(Settings(), Scope("development", "shop")))
    resolution = resolve(creation, Settings(), Capabilities("process", ()))
    retries = [
        value.value
        for values in resolution.nodes.values()
        for value in values
        if value.path == "retries"
    ]
    assert (retries.count(2), retries.count(0)) == (100, MAX_NODES - 100)


def doubled(depth: int) -> dict[str, Graph]:
    """Return sub-workflows, each of which calls the next one twice."""
    inner = {f"g{n}": Graph(nodes=calls(f"g{n + 1}", 2)) for n in range(depth)}
    return {**inner, f"g{depth}": graph(1)}


A, B = Graph(nodes=calls("b", 1)), Graph(nodes=calls("a", 1))
LARGE = {f"V{n}": "x" * 50 for n in range(3000)}


@pytest.mark.parametrize(
    ("hostile", "message"),
    [
        (workflow(calls("a", 1), workflows={"a": A, "b": B}), "does not call itself"),
        (workflow(calls("g0", 1), workflows=doubled(25)), "at most 5000 nodes"),
        (nested(2, graph(MAX_NODES // 2 + 1)), "at most 5000 nodes"),
        (
            workflow(
                calls("inner", 1, overrides=NodeOverrides(environment=LARGE)),
                workflows={"inner": graph(4000, overrides=NodeOverrides(retries=1))},
            ),
            "at most 921600 bytes",
        ),
        (
            workflow(
                (Node(id="m", workflow="inner", inputs={"x": Constant(value="x" * 100_000)}),),
                workflows={"inner": graph(4000)},
            ),
            "at most 921600 bytes",
        ),
        (
            nested(4000, Graph(inputs={f"i{n}": 0 for n in range(9000)}, nodes=graph(1).nodes)),
            "an input: i0",
        ),
        (
            workflow(
                calls("inner", 4000),
                workflows={
                    "inner": Graph(
                        inputs={f"i{n}": 0 for n in range(9000)},
                        nodes=(Node(id="n", task="step", inputs={}),),
                    )
                },
            ),
            "at most 921600 bytes",
        ),
    ],
    ids=["cycle", "exponential", "nodes", "overrides", "constants", "names", "inputs"],
)
def test_a_workflow_that_would_take_too_long_or_too_much_is_refused(
    hostile: Workflow, message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        closures.check_registration(hostile, {})


STEP = Node(id="n0", task="step", inputs={})
CALL = PlanCall(project="p", domain="d", workflow="w", launch_plan="w")


def calling_plans(number: int, prefix: str, name: str) -> Workflow:
    """Return a workflow that calls so many launch plans."""
    names = [f"{prefix}{n}" for n in range(number)]
    fields = {"type": "launch_plan", "project": "lab", "domain": "production", "version": "1"}
    references = {name: Reference.model_validate({**fields, "name": name}) for name in names}
    nodes = tuple(Node(id=name, reference=name, inputs={}) for name in names)
    return workflow(nodes, name=name, tasks={}, references=references)


def test_more_different_calls_of_launch_plans_than_an_execution_has_are_refused() -> None:
    """Few references lead to many calls where each of them calls each of others."""
    leaves = {
        f"b{n}": workflow((Node(id="n", task="step", inputs={}),), name=f"b{n}") for n in range(23)
    }
    inner = {f"a{n}": calling_plans(23, "b", f"a{n}") for n in range(23)}
    registry = {
        ReferenceKey("launch_plan", "lab", "production", name, "1"): Referenced(
            each, LaunchPlan(name=name, workflow=name, version="1")
        )
        for name, each in {**leaves, **inner}.items()
    }
    closures.check_registration(calling_plans(20, "a", "main"), registry)
    with pytest.raises(Invalid, match="at most 500; calls with the same values"):
        closures.check_registration(calling_plans(23, "a", "main"), registry)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"workflows": {f"g{n}": graph(MAX_NODES // 2) for n in range(4)}}, "nodes"),
        ({"tasks": {f"t{n}": Task(name="t") for n in range(MAX_NODES)}}, "tasks"),
        (
            {
                "references": {
                    f"r{n}": Reference(type="task", project="p", domain="d", name="x", version="1")
                    for n in range(closures.MAX_REFERENCES + 1)
                }
            },
            "references",
        ),
        ({"tasks": {"a/b": Task(name="t")}}, "tasks"),
        ({"tasks": {"t" * 201: Task(name="t")}}, "tasks"),
        ({"workflows": {"": graph(1)}}, "workflows"),
        ({"nodes": (STEP.model_copy(update={"id": "_n0"}),)}, "nodes.0.id"),
        ({"sources": {"0" * 64: ""}}, "sources"),
        ({"plans": {"n0": CALL}}, "plans"),
        ({"nodes": (STEP.model_copy(update={"plan": "n0"}),)}, "node n0.plan"),
        (
            {"tasks": {"step": Task(name="step", target=Function(code="0"))}},
            "tasks.step.target.code",
        ),
        ({"nodes": (STEP.model_copy(update={"hook": Hook(name="h", path="n0")}),)}, "hook h.path"),
    ],
)
def test_what_no_sdk_registers_is_refused(fields: dict[str, Any], path: str) -> None:
    tasks = {"step": Task(name="step"), **fields.get("tasks", {})}
    with pytest.raises(Invalid) as refused:
        closures.check_registration(
            workflow((STEP,)).model_copy(update={**fields, "tasks": tasks}), {}
        )
    assert refused.value.path == path


@pytest.mark.parametrize(
    "fields",
    [
        {"required": ("zz",)},
        {"output": FromInput(name="zz")},
        {"nodes": (STEP.model_copy(update={"task": "zz"}),)},
    ],
)
def test_a_wrong_name_is_refused_with_a_short_message(fields: dict[str, Any]) -> None:
    names = [f"name{n}" for n in range(5000)]
    large = workflow(
        (STEP,), inputs=dict.fromkeys(names), tasks={n: Task(name=n) for n in ("step", *names)}
    )
    with pytest.raises(Invalid) as refused:
        closures.check_registration(large.model_copy(update=fields), {})
    assert len(str(refused.value)) < 300
