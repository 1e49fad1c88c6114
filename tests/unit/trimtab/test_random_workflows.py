"""1,000 random workflows: they compile, survive JSON, and compute what they describe."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trimtab import (
    reference_launch_plan,
    reference_task,
    reference_workflow,
    runtime_override_config,
    task,
    workflow,
)
from trimtab.workflows.definitions.closures import hook_paths
from trimtab.workflows.definitions.workflow_functions import WorkflowFunction
from trimtab.workflows.graphs.expansion import Referenced, ReferenceKey, Registry, expand
from trimtab.workflows.graphs.graph import Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab.workflows.graphs.node_overrides import NodeOverrides

CASES = 1000
AT = {"project": "shop", "domain": "production", "version": "v1"}


@task
def add(x: int, y: int = 1) -> int:
    return (x + y) % 1009


@task(retries=1)
def times(x: int, y: int = 2) -> int:
    return (x * y) % 1009


@workflow
def registered(x: int, y: int = 4) -> int:
    result: int = add(x=x, y=y).with_runtime_override("registered")
    return result


@reference_task(name="add", **AT)
def far_add(x: int, y: int = 1) -> int: ...  # type: ignore[empty-body]


@reference_workflow(name="registered", **AT)
def far_workflow(x: int, y: int = 4) -> int: ...  # type: ignore[empty-body]


@reference_launch_plan(name="large", **AT)
def far_plan(x: int, y: int = 4) -> int: ...  # type: ignore[empty-body]


TASKS = (add, times)
REFERENCES = (far_add, far_workflow, far_plan)


def registry() -> Registry:
    found = registered.graph("v1", "far")
    plan = LaunchPlan(name="large", workflow="registered", version="v1")
    return {
        ReferenceKey("task", "shop", "production", "add", "v1"): Referenced(found),
        ReferenceKey("workflow", "shop", "production", "registered", "v1"): Referenced(found),
        ReferenceKey("launch_plan", "shop", "production", "large", "v1"): Referenced(found, plan),
    }


Argument = int | str
"""A constant, or ``x``, or the name of an earlier step."""


@dataclass
class Step:
    name: str
    callee: Any
    arguments: Mapping[str, Argument]
    configure: Callable[[Any], Any]


@dataclass
class Case:
    """A workflow, with the recipe that its body follows."""

    defined: WorkflowFunction
    steps: list[Step]
    default: int


class Cases:
    """Makes random workflows, each of which may call those made before."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._has_references = self._random.random() < 0.3
        self._hooks = 0
        self.made: list[Case] = []
        for number in range(self._random.randint(1, 4)):
            self.made.append(self._case(f"w{number}"))

    def _case(self, name: str) -> Case:
        steps: list[Step] = []
        for number in range(self._random.randint(1, 4)):
            steps.append(self._step(f"s{number}", [step.name for step in steps]))
        default = self._random.randint(0, 9)

        def body(x: int = default) -> Any:
            values: dict[Argument, Any] = {"x": x}
            for step in steps:
                given = {n: values.get(each, each) for n, each in step.arguments.items()}
                values[step.name] = step.configure(step.callee(**given))
            return values[steps[-1].name]

        body.__name__ = name
        return Case(workflow(body), steps, default)

    def _step(self, name: str, earlier: list[str]) -> Step:
        inner = [case.defined for case in self.made]
        callee = self._random.choice(
            (*TASKS, *inner, *(REFERENCES if self._has_references else ()))
        )
        known: list[Argument] = ["x", *earlier, self._random.randint(0, 9)]
        names = ["x"] if callee in inner or self._random.random() < 0.5 else ["x", "y"]
        arguments = {each: self._random.choice(known) for each in names}
        return Step(name, callee, arguments, self._configuration(name, callee))

    def _configuration(self, step: str, callee: Any) -> Callable[[Any], Any]:
        overrides, hook = self._overrides(), self._hook(callee)
        node_name = f"node_{step}" if self._random.random() < 0.3 else None

        def configure(promise: Any) -> Any:
            if overrides is not None:
                promise = promise.with_overrides(node_name=node_name, **overrides)
            return promise if hook is None else promise.with_runtime_override(*hook)

        return configure

    def _overrides(self) -> dict[str, Any] | None:
        fields = {
            "retries": self._random.randint(0, 3),
            "interruptible": self._random.random() < 0.5,
            "environment": {self._random.choice("AB"): str(self._random.randint(0, 9))},
        }
        chosen = self._random.sample(sorted(fields), self._random.randint(0, 3))
        return {name: fields[name] for name in chosen} if self._random.random() < 0.5 else None

    def _hook(self, callee: Any) -> tuple[str, NodeOverrides] | None:
        default = runtime_override_config(retries=self._random.randint(0, 3))
        if self._random.random() < 0.5:
            return None
        if callee in (far_workflow, far_plan):
            return "registered", default
        if isinstance(callee, WorkflowFunction):
            hooks = [*callee.traced.closure.hooks, *hook_paths(callee.traced)]
            return (self._random.choice(hooks), default) if hooks else None
        self._hooks += 1
        return f"h{self._hooks}", default


def value_of(case: Case, cases: list[Case], x: int) -> int:
    """Return the output of the workflow as its recipe describes it, without any graph."""
    values: dict[Argument, int] = {"x": x}
    for step in case.steps:
        given = {name: values.get(each, each) for name, each in step.arguments.items()}
        inner = next((each for each in cases if each.defined is step.callee), None)
        values[step.name] = (
            step.callee.function(**given) if inner is None else value_of(inner, cases, given["x"])
        )
    return values[case.steps[-1].name]


def test_random_workflows_compile_survive_json_and_compute_what_they_describe() -> None:
    known = registry()
    for seed in range(CASES):
        cases = Cases(seed).made
        case = cases[-1]
        graph = case.defined.graph("v1", "code")
        again = Workflow.model_validate_json(graph.model_dump_json())
        assert again == graph, f"seed {seed}"
        again.check()
        expanded = expand(again, known)
        assert len(expanded.nodes) == case.defined.traced.closure.size, f"seed {seed}"
        Workflow.model_validate_json(expanded.model_dump_json()).check()
        if not graph.references:
            assert case.defined() == value_of(case, cases, case.default), f"seed {seed}"


def test_random_workflows_have_all_that_a_workflow_can_have() -> None:
    graphs = [Cases(seed).made[-1].defined.graph("v1", "code") for seed in range(100)]
    nodes = [node for graph in graphs for each in graph.graphs.values() for node in each.nodes]
    assert {len(graph.workflows) for graph in graphs} == {0, 1, 2, 3}
    for field in ("task", "workflow", "reference", "hook", "hooks"):
        assert sum(bool(getattr(node, field)) for node in nodes) > 20, field
    assert sum(not node.overrides.is_empty for node in nodes) > 20
    assert sum("/" in name for node in nodes for name in node.hooks) > 2
    assert sum(node.id.startswith("node_") for node in nodes) > 20


def test_a_workflow_of_5000_nodes_compiles() -> None:
    @workflow
    def long(x: int = 0) -> Any:
        for number in range(5000):
            x = add(x=x, y=number)
        return x

    graph = long.graph("v1", "")
    assert len(graph.nodes) == 5000
    assert Workflow.model_validate_json(graph.model_dump_json()) == graph
