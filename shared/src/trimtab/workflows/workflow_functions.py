"""Define workflows: functions whose body runs once, to build the graph of the calls in it.

::

    @task(resources=Resources(cpu="500m", mem=("64Mi", "128Mi")), pool=Pool("warehouse", quota=2))
    def train(rows: int) -> float: ...

    @workflow
    def nightly(rows: int = 100):
        return train(rows=extract(count=rows)).with_runtime_override("trainer")

In the body a call of a task adds a node and returns a promise. Anywhere else, tasks and workflows
are plain callables.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from trimtab.errors import Invalid, Rejected
from trimtab.models import json_value, parse_model
from trimtab.workflows import builder, graph
from trimtab.workflows.builder import Promise
from trimtab.workflows.graph import Binding, Constant, FromInput, FromNode
from trimtab.workflows.input_types import input_types
from trimtab.workflows.tasks import PythonTask

if TYPE_CHECKING:
    from trimtab.workflows.launch_plans import LaunchPlan

_NOT_GIVEN = inspect.Parameter.empty


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
    def tasks(self) -> Mapping[str, PythonTask[Any]]:
        """The tasks that the workflow calls, by name."""
        return {n: t for n, t in self._built.tasks.items() if isinstance(t, PythonTask)}

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


def _resolve(binding: Binding, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
    """Return the value of a binding, given the workflow's inputs and outputs by node."""
    match binding:
        case Constant():
            return binding.value
        case FromInput():
            return inputs[binding.name]
        case FromNode():
            return outputs[binding.node]
