"""Define workflows: tasks, the graph of their calls, hooks and launch plans.

::

    @task(resources=Resources(cpu="500m", mem=("64Mi", "128Mi")), pool=Pool("warehouse", quota=2))
    def train(rows: int) -> float: ...

    @workflow
    def nightly(rows: int = 100):
        return train(rows=extract(count=rows)).with_runtime_override("trainer")

The body of a workflow runs once, to build its graph: there, a call of a task adds a node and
returns a promise. Anywhere else, tasks and workflows are plain callables.
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
from trimtab.workflows.input_types import input_types
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
    """A function whose calls in a workflow are nodes; anywhere else it is just the function."""

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
        """Call the function; in the body of a workflow, add a node and return its promise."""
        graph_builder = builder.active.get()
        if graph_builder is None:
            return self.function(*args, **kwargs)
        if args:
            raise Rejected(
                f"{self.name}: in a workflow, tasks can only be called with keyword arguments"
            )
        return graph_builder.add_node(self, kwargs)


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
    """Make a function a task. Each attempt takes ``weight`` units of the pool."""
    config = node_overrides(resources, retries, interruptible, container_image, environment)
    task_pool = Pool(pool) if isinstance(pool, str) else pool

    def decorate(decorated: Callable[P, object]) -> TaskFunction[P]:
        return TaskFunction(decorated, config, task_pool, weight)

    return decorate if function is None else decorate(function)


class WorkflowFunction:
    """A graph of task calls. Calling it runs the tasks one after the other in this process."""

    def __init__(self, function: Callable[..., object]) -> None:
        update_wrapper(self, function)
        self.function = function
        self.name = function.__name__
        self.launch_plans: dict[str, LaunchPlan] = {}

    def __call__(self, **inputs: JsonValue) -> Any:
        """Run the nodes in this process and return the output of the workflow."""
        if (outer := builder.active.get()) is not None:
            raise Rejected(
                f"workflow {self.name} is called in workflow {outer.workflow}, where only tasks "
                "can be called: call its tasks instead"
            )
        registered = self.graph("local", "")
        given, outputs = registered.bind_inputs(inputs), dict[str, Any]()
        for node in registered.nodes:
            values = {name: _resolve(b, given, outputs) for name, b in node.inputs.items()}
            outputs[node.id] = self._built.tasks[node.task].function(**values)
        return None if registered.output is None else _resolve(registered.output, given, outputs)

    @property
    def tasks(self) -> Mapping[str, TaskFunction[Any]]:
        """The tasks that the workflow calls, by name."""
        return {n: t for n, t in self._built.tasks.items() if isinstance(t, TaskFunction)}

    def graph(self, version: str, module: str) -> graph.Workflow:
        """Return the model to register. Raises `Rejected` where the body cannot be a workflow."""
        parameters = self._parameters
        content = {
            "name": self.name,
            "version": version,
            "inputs": {n: self._default(n, p) for n, p in parameters.items()},
            "required": [n for n, p in parameters.items() if p.default is _NOT_GIVEN],
            "input_types": input_types(self.function, parameters),
            "tasks": {name: called.graph for name, called in self.tasks.items()},
            "nodes": tuple(self._built.nodes.values()),
            "output": self._built.output,
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
                raise Invalid(f"{self.name}: inputs", str(parameter), "named inputs only")
        return parameters

    @cached_property
    def _built(self) -> builder.GraphBuilder:
        """The builder after it ran the body."""
        built = builder.GraphBuilder(self.name)
        outer = builder.active.set(built)
        try:
            returned = self.function(
                **{name: Promise(FromInput(name=name)) for name in self._parameters}
            )
        finally:
            builder.active.reset(outer)
        if not built.nodes:
            raise Rejected(f"workflow {self.name} calls no task")
        if returned is not None:
            built.output = builder.bind(f"{self.name}: return", returned)
        return built


def workflow(function: Callable[..., object]) -> WorkflowFunction:
    """Make a function a workflow of the same name."""
    return WorkflowFunction(function)


@dataclass(frozen=True)
class LaunchPlan:
    """A named set of inputs, overrides and configuration for executions of a workflow."""

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
        """Return the launch plan of this name, which is created at the first call.

        Raises `Invalid` where one was created with other values.
        """
        config = {
            "environment": dict(environment or {}),
            "labels": dict(labels or {}),
            "annotations": dict(annotations or {}),
            "max_parallelism": max_parallelism,
            "interruptible": interruptible,
            "overwrite_cache": overwrite_cache,
        }
        execution_config = parse_model(ExecutionConfig, config)
        plan = cls(workflow, name, inputs or {}, runtime_override or {}, execution_config)
        if name == workflow.name:
            raise Invalid(
                "name", name, "a name other than the workflow's, which is the default launch plan"
            )
        plan.graph(workflow.graph("local", ""))
        if workflow.launch_plans.setdefault(name, plan) != plan:
            raise Invalid("name", name, "a name that no launch plan with other values has")
        return workflow.launch_plans[name]

    def graph(self, registered: graph.Workflow) -> graph.LaunchPlan:
        """Return the model to register.

        Raises `Invalid` on an input or a hook that the workflow does not have.
        """
        path = f"launch plan {self.name}"
        for given in self.inputs:
            if given not in registered.inputs:
                known = "the inputs " + (", ".join(registered.inputs) or "(the workflow has none)")
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


def _resolve(binding: Binding, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
    """Return the value of a binding, given the workflow's inputs and outputs by node."""
    match binding:
        case Constant():
            return binding.value
        case FromInput():
            return inputs[binding.name]
        case FromNode():
            return outputs[binding.node]
