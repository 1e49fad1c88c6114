"""Define workflows: functions whose body runs once, to build the graph of the calls in it.

::

    @task(resources=Resources(cpu="500m", mem=("64Mi", "128Mi")), pool=Pool("warehouse", quota=2))
    def train(rows: int) -> float: ...

    @workflow
    def nightly(rows: int = 100):
        return train(rows=extract(count=rows)).with_runtime_override("trainer")

In the body, a call of a task, of another workflow or of a reference adds a node and returns a
promise. Anywhere else, tasks and workflows are plain callables.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from trimtab.errors import Rejected
from trimtab.models import parse_model
from trimtab.release import VERSION
from trimtab.workflows.definitions import builder
from trimtab.workflows.definitions.body_checks import check_body
from trimtab.workflows.definitions.builder import GraphBuilder
from trimtab.workflows.definitions.functions import place_of, signature_of
from trimtab.workflows.definitions.references import ReferenceFunction
from trimtab.workflows.definitions.tasks import ContainerTask, PythonTask
from trimtab.workflows.definitions.types import FunctionTypes
from trimtab.workflows.graphs.expansion import MAX_DEPTH, expand
from trimtab.workflows.graphs.graph import Graph, Workflow
from trimtab.workflows.graphs.node_runs import run_nodes
from trimtab.workflows.graphs.runtimes import RuntimeMetadata, SdkType

if TYPE_CHECKING:
    from trimtab.workflows.definitions.launch_plans import LaunchPlan

_NOT_GIVEN = inspect.Parameter.empty
SDK = RuntimeMetadata(type=SdkType.TRIMTAB_SDK, version=VERSION, flavor="Python")
"""The SDK of this release, which each registration names."""


class WorkflowFunction:
    """A graph of task calls. Calling it runs the tasks one after the other in this process."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.signature = signature_of("workflow", function)
        update_wrapper(self, function)
        self.function = function
        self.name = function.__name__
        self.place = place_of(function)
        self.launch_plans: dict[str, LaunchPlan] = {}
        # As in a task, a type without a form in JSON is an error here.
        FunctionTypes(function)

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        """Run the nodes in this process, or add a node in the body of another workflow."""
        if (outer := builder.active.get()) is not None:
            return outer.add_workflow(self, *args, **inputs)
        if args:
            raise Rejected(f"{self.name}: workflows can only be called with keyword arguments")
        return self._run(inputs)

    @cached_property
    def types(self) -> FunctionTypes:
        return FunctionTypes(self.function)

    @property
    def tasks(self) -> Mapping[str, PythonTask[Any]]:
        """The tasks that the workflow and its sub-workflows call, by name."""
        called = self.traced.closure.tasks
        return {name: task for name, task in called.items() if isinstance(task, PythonTask)}

    def graph(self, version: str, module: str) -> Workflow:
        """Return the model to register. Raises `Rejected` where the body cannot be a workflow."""
        closure = self.traced.closure
        content = {
            **self._content,
            "name": self.name,
            "version": version,
            "tasks": {name: called.graph for name, called in self.tasks.items()},
            "workflows": {
                name: called.own_graph
                for name, called in closure.workflows.items()
                if isinstance(called, WorkflowFunction) and called is not self
            },
            "references": {
                name: called.reference
                for name, called in closure.references.items()
                if isinstance(called, ReferenceFunction)
            },
            "module": module,
            "runtime": SDK,
        }
        workflow = parse_model(Workflow, content)
        workflow.check()
        return workflow

    @cached_property
    def own_graph(self) -> Graph:
        """The graph without what it calls, as the workflows that call this one contain it."""
        return parse_model(Graph, self._content)

    @cached_property
    def traced(self) -> GraphBuilder:
        """The builder after it ran the body, once. Raises `Rejected`."""
        outer = builder.active.get()
        built = GraphBuilder(self, outer)
        _check_callers(built)
        check_body(self.function)
        previous = builder.active.set(built)
        try:
            returned = self.function(**built.input_promises())
        finally:
            builder.active.reset(previous)
        if built.refusal is not None:
            raise built.refusal
        with self._naming_its_place():
            built.finish(returned)
        return built

    @cached_property
    def _content(self) -> dict[str, Any]:
        """The fields of the `Graph`."""
        parameters, traced, types = self.signature.parameters, self.traced, self.types
        with self._naming_its_place():
            return {
                "inputs": {n: self._default(n, p) for n, p in parameters.items()},
                "required": [n for n, p in parameters.items() if p.default is _NOT_GIVEN],
                "schemas": {n: each.schema for n, each in types.inputs.items() if each.schema},
                "output_schema": types.output.output_schema,
                "nodes": tuple(traced.finished.values()),
                "output": traced.output,
            }

    def _default(self, name: str, parameter: inspect.Parameter) -> JsonValue:
        if parameter.default is _NOT_GIVEN:
            return None
        return self.types.inputs[name].to_json(f"{self.name}: {name}", parameter.default)

    @contextmanager
    def _naming_its_place(self) -> Iterator[None]:
        """Name the place of the definition in errors that are found after the body has run."""
        try:
            yield
        except Rejected as error:
            if self.place in str(error):
                raise
            raise Rejected(f"{error} (workflow {self.name}: {self.place})") from error

    def runnable(self) -> Workflow:
        """Return the workflow, expanded. Raises `Rejected` for a call that cannot run here."""
        for reference in self.traced.closure.references.values():
            if isinstance(reference, ReferenceFunction):
                reference.refuse_to_run()
        for task in self.tasks.values():
            if isinstance(task, ContainerTask):
                task.function()
        return expand(self.graph("local", ""))

    def _run(self, inputs: Mapping[str, object]) -> Any:
        """Run the nodes one after the other and return the output of the workflow."""
        workflow, tasks = self.runnable(), self.tasks
        given = self.types.inputs_in_json("inputs", inputs)
        output = run_nodes(
            workflow, given, lambda node, values: tasks[node.task].types.call(values)
        )
        return self.types.output.to_python(f"{self.name}: return", output)


def workflow(function: Callable[..., object]) -> WorkflowFunction:
    """Make a function a workflow of the same name."""
    return WorkflowFunction(function)


def _check_callers(built: GraphBuilder) -> None:
    """Raise `Rejected` where a workflow calls itself, or workflows are too deep in each other."""
    callers, outer = [built.workflow], built.outer
    while outer is not None:
        callers.append(outer.workflow)
        if outer.owner is built.owner:
            path = " calls ".join(reversed(callers))
            raise Rejected(f"a workflow cannot call itself: {path}")
        outer = outer.outer
    if len(callers) > MAX_DEPTH + 1:
        raise Rejected(
            f"workflow {callers[-1]} has more than {MAX_DEPTH} sub-workflows inside each other"
        )
