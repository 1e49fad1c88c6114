"""Write workflows: tasks, the graph of their calls, hooks and launch plans.

::

    @task(resources=Resources(cpu="500m", mem=("64Mi", "128Mi")), pool=Pool("warehouse", quota=2))
    def train(rows: int) -> float: ...

    @workflow
    def nightly(rows: int = 100):
        return train(rows=extract(count=rows)).with_runtime_override("trainer")

A workflow's body runs once, to be traced: in it, tasks give promises. Outside, tasks and workflows
are plain callables.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, update_wrapper
from typing import Any, Generic, ParamSpec, overload

from pydantic import JsonValue

from trimtab.errors import Invalid, Rejected
from trimtab.models import json_value, parse_model
from trimtab.workflows import builder, graph
from trimtab.workflows.builder import Promise
from trimtab.workflows.graph import (
    Binding,
    Constant,
    ExecutionConfig,
    FromInput,
    FromNode,
    NodeOverrides,
)
from trimtab.workflows.overrides import Pool, Resources, node_overrides, runtime_override_config

__all__ = [
    "LaunchPlan",
    "Pool",
    "Promise",
    "Resources",
    "TaskFunction",
    "WorkflowFunction",
    "runtime_override_config",
    "task",
    "workflow",
]

P = ParamSpec("P")
_NOT_GIVEN = inspect.Parameter.empty


class TaskFunction(Generic[P]):
    """A function that can be a node of a workflow; anywhere else it is just the function."""

    def __init__(
        self, function: Callable[P, object], config: NodeOverrides, pool: Pool | None, weight: int
    ) -> None:
        update_wrapper(self, function)
        self.function = function
        self.name = function.__name__
        self.pool = pool
        content = {"name": self.name, "config": config, "weight": weight}
        self.graph = parse_model(graph.Task, content | ({"pool": pool.name} if pool else {}))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """What the function returns, or a `Promise` of it where a workflow is traced."""
        trace = builder.current.get()
        if trace is None:
            return self.function(*args, **kwargs)
        if args:
            raise Rejected(
                f"{self.name}: in a workflow a task is called with keyword arguments only"
            )
        return trace.add(self, kwargs)


@overload
def task(function: Callable[P, object]) -> TaskFunction[P]: ...


@overload
def task(
    *,
    resources: Resources | None = None,
    retries: int | None = None,
    interruptible: bool | None = None,
    container_image: str | None = None,
    environment: Mapping[str, str] | None = None,
    pool: Pool | str | None = None,
    weight: int = 1,
) -> Callable[[Callable[P, object]], TaskFunction[P]]: ...


def task(
    function: Callable[P, object] | None = None,
    *,
    resources: Resources | None = None,
    retries: int | None = None,
    interruptible: bool | None = None,
    container_image: str | None = None,
    environment: Mapping[str, str] | None = None,
    pool: Pool | str | None = None,
    weight: int = 1,
) -> TaskFunction[P] | Callable[[Callable[P, object]], TaskFunction[P]]:
    """Make a function a task. ``weight`` is how many units of the pool one attempt takes."""
    config = node_overrides(resources, retries, interruptible, container_image, environment)
    wanted = Pool(pool) if isinstance(pool, str) else pool

    def decorate(decorated: Callable[P, object]) -> TaskFunction[P]:
        return TaskFunction(decorated, config, wanted, weight)

    return decorate if function is None else decorate(function)


class WorkflowFunction:
    """A graph of task calls. Called, it runs them one after the other in this process."""

    def __init__(self, function: Callable[..., object]) -> None:
        update_wrapper(self, function)
        self.function = function
        self.name = function.__name__
        self.launch_plans: dict[str, LaunchPlan] = {}

    def __call__(self, **inputs: JsonValue) -> Any:
        """What the workflow returns."""
        if (outer := builder.current.get()) is not None:
            raise Rejected(
                f"workflow {self.name} is called in workflow {outer.workflow}, and only tasks can "
                "be called in a workflow: call the tasks of it"
            )
        registered = self.graph("local", "")
        given, done = registered.bound(inputs), dict[str, Any]()
        for node in registered.nodes:
            values = {name: _value(b, given, done) for name, b in node.inputs.items()}
            done[node.id] = self._trace.tasks[node.task].function(**values)
        return None if registered.output is None else _value(registered.output, given, done)

    @property
    def tasks(self) -> Mapping[str, TaskFunction[Any]]:
        """By name, those that it calls."""
        return {n: t for n, t in self._trace.tasks.items() if isinstance(t, TaskFunction)}

    def graph(self, version: str, module: str) -> graph.Workflow:
        """As registered. Raises `Rejected` where the body is no workflow."""
        parameters = self._parameters
        content = {
            "name": self.name,
            "version": version,
            "inputs": {n: self._default(n, p) for n, p in parameters.items()},
            "required": [n for n, p in parameters.items() if p.default is _NOT_GIVEN],
            "tasks": {name: called.graph for name, called in self.tasks.items()},
            "nodes": tuple(self._trace.nodes.values()),
            "output": self._trace.output,
            "module": module,
        }
        workflow = parse_model(graph.Workflow, content)
        workflow.check()
        return workflow

    def _default(self, name: str, parameter: inspect.Parameter) -> JsonValue:
        if parameter.default is _NOT_GIVEN:
            return None
        return json_value(f"{self.name}: {name}", parameter.default)

    @cached_property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        parameters = inspect.signature(self.function).parameters
        for parameter in parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise Invalid(f"{self.name}: inputs", str(parameter), "inputs that have a name")
        return parameters

    @cached_property
    def _trace(self) -> builder.Trace:
        trace = builder.Trace(self.name)
        before = builder.current.set(trace)
        try:
            returned = self.function(
                **{name: Promise(FromInput(name=name)) for name in self._parameters}
            )
        finally:
            builder.current.reset(before)
        if not trace.nodes:
            raise Rejected(f"workflow {self.name} calls no task")
        if returned is not None:
            trace.output = builder.binding(f"{self.name}: return", returned)
        return trace


def workflow(function: Callable[..., object]) -> WorkflowFunction:
    """Make a function a workflow, under the function's name."""
    return WorkflowFunction(function)


@dataclass(frozen=True)
class LaunchPlan:
    """A workflow with inputs and overrides of its own."""

    workflow: WorkflowFunction
    name: str
    inputs: Mapping[str, JsonValue]
    runtime_override: Mapping[str, NodeOverrides]
    config: ExecutionConfig

    @classmethod
    def get_or_create(
        cls,
        *,
        workflow: WorkflowFunction,
        name: str,
        inputs: Mapping[str, JsonValue] | None = None,
        runtime_override: Mapping[str, NodeOverrides] | None = None,
        environment: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        max_parallelism: int | None = None,
        interruptible: bool | None = None,
        overwrite_cache: bool | None = None,
    ) -> "LaunchPlan":
        """The one of this name. Raises `Invalid` where it was made with other values."""
        config = {
            "environment": dict(environment or {}),
            "labels": dict(labels or {}),
            "annotations": dict(annotations or {}),
            "max_parallelism": max_parallelism,
            "interruptible": interruptible,
            "overwrite_cache": overwrite_cache,
        }
        said = parse_model(ExecutionConfig, config)
        plan = cls(workflow, name, inputs or {}, runtime_override or {}, said)
        if name == workflow.name:
            raise Invalid(
                "name", name, "another name than the workflow's, whose plan has no values"
            )
        plan.graph(workflow.graph("local", ""))
        if workflow.launch_plans.setdefault(name, plan) != plan:
            raise Invalid("name", name, "a name that no launch plan with other values has")
        return workflow.launch_plans[name]

    def graph(self, registered: graph.Workflow) -> graph.LaunchPlan:
        """As registered. Raises `Invalid` on an input or hook that the workflow has not."""
        path = f"launch plan {self.name}"
        for given in self.inputs:
            if given not in registered.inputs:
                known = "the inputs " + (", ".join(registered.inputs) or "of which there are none")
                raise Invalid(f"{path}: inputs", given, known)
        registered.check_hooks(f"{path}: runtime_override", self.runtime_override)
        content = {
            "name": self.name,
            "workflow": registered.name,
            "version": registered.version,
            "inputs": {n: json_value(f"{path}: inputs.{n}", v) for n, v in self.inputs.items()},
            "runtime_override": dict(self.runtime_override),
            **self.config.model_dump(),
        }
        return parse_model(graph.LaunchPlan, content)


def _value(binding: Binding, inputs: Mapping[str, Any], done: Mapping[str, Any]) -> Any:
    match binding:
        case Constant():
            return binding.value
        case FromInput():
            return inputs[binding.name]
        case FromNode():
            return done[binding.node]
