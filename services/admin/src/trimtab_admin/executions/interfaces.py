"""Check the calls of what is registered elsewhere against its interface. Pure."""

from collections.abc import Callable, Collection, Iterator, Mapping

from trimtab import names
from trimtab.errors import Invalid
from trimtab.workflows.graphs.expansion import Referenced, ReferenceKey, Registry
from trimtab.workflows.graphs.graph import (
    Binding,
    Constant,
    FromInput,
    FromNode,
    Graph,
    Interface,
    Node,
    Reference,
    Schema,
    Workflow,
)
from trimtab.workflows.values import checking
from trimtab.workflows.values.fitting import may_fit
from trimtab.workflows.values.schemas import described


def check(workflow: Workflow, registry: Registry, is_late: Callable[[], bool]) -> None:
    """Check the references of a workflow, then each call of one. Raises `Invalid`.

    The registry has all of them. Types are compared until ``is_late``: strangers write them, and
    an execution compares its values again.
    """
    interfaces = {}
    for name, reference in workflow.references.items():
        key = ReferenceKey.of(reference)
        actual = interface_of(key, registry[key])
        if actual is not None:
            _check_expected(f"references.{name}.interface", reference, actual)
            interfaces[name] = actual
    outputs = _Outputs(workflow, interfaces)
    for path, graph, node in _calls(workflow):
        if (actual := interfaces.get(node.reference)) is None:
            continue
        _check_names(path, workflow.references[node.reference], node.inputs, actual)
        for name, binding in node.inputs.items():
            if not is_late():
                outputs.check(f"{path}.{name}", graph, binding, actual.inputs[name])


def interface_of(key: ReferenceKey, referenced: Referenced) -> Interface | None:
    """Return what a version takes and returns; ``None`` for a task that does not declare it."""
    workflow, plan = referenced.workflow, referenced.launch_plan
    if key.type == "task":
        interface = workflow.tasks[key.name].interface
        return interface if interface.model_fields_set else None
    given = plan.inputs if plan else {}
    return Interface(
        inputs={name: workflow.schema_of(name) for name in workflow.inputs},
        required=tuple(name for name in workflow.required if name not in given),
        output=workflow.output_schema,
    )


class _Outputs:
    """The types of what the nodes of a workflow return."""

    def __init__(self, workflow: Workflow, interfaces: Mapping[str, Interface]) -> None:
        self._workflow = workflow
        self._interfaces = interfaces
        self._by_graph: dict[int, Mapping[str, Schema]] = {}

    def check(self, path: str, graph: Graph, binding: Binding, expected: Schema) -> None:
        """Raise `Invalid` where no value of the binding can be of the expected type."""
        match binding:
            case Constant():
                checking.check(path, binding.value, expected)
                return
            case FromInput():
                given = graph.schema_of(binding.name)
                text = f"the input {binding.name}: {described(given)}"
            case FromNode():
                given = self._of(graph).get(binding.node, {})
                text = f"the output of {binding.node}: {described(given)}"
        if not may_fit(given, expected):
            raise Invalid(path, text, described(expected))

    def _of(self, graph: Graph) -> Mapping[str, Schema]:
        if id(graph) not in self._by_graph:
            self._by_graph[id(graph)] = {node.id: self._returned(node) for node in graph.nodes}
        return self._by_graph[id(graph)]

    def _returned(self, node: Node) -> Schema:
        if node.task:
            return self._workflow.tasks[node.task].interface.output
        if node.workflow:
            return self._workflow.workflows[node.workflow].output_schema
        return self._interfaces.get(node.reference, Interface()).output


def _calls(workflow: Workflow) -> Iterator[tuple[str, Graph, Node]]:
    for name, graph in workflow.graphs.items():
        prefix = f"workflows.{name}." if name else ""
        for index, node in enumerate(graph.nodes):
            if node.reference:
                yield f"{prefix}nodes.{index}.inputs", graph, node


def _check_names(
    path: str, reference: Reference, given: Collection[str], actual: Interface
) -> None:
    """Raise `Invalid` for an input that there is not, and for one that is missing."""
    what = f"{reference.type.replace('_', ' ')} {reference.name}"
    for name in given:
        if name not in actual.inputs:
            known = names.listed(list(actual.inputs)) or "(there are none)"
            question = names.question(name, actual.inputs)
            raise Invalid(f"{path}.{name}", name, f"the inputs of {what}: {known}{question}")
    for name in actual.required:
        if name not in given:
            raise Invalid(f"{path}.{name}", None, f"a value, because {what} requires it")


def _check_expected(path: str, reference: Reference, actual: Interface) -> None:
    """Compare the interface with the one that the author of the workflow has declared."""
    expected = reference.interface
    if expected.inputs or expected.required:
        _check_names(f"{path}.inputs", reference, expected.inputs, actual)
    for name, schema in expected.inputs.items():
        if not may_fit(schema, actual.inputs[name]):
            raise Invalid(
                f"{path}.inputs.{name}", described(schema), described(actual.inputs[name])
            )
    if not may_fit(actual.output, expected.output):
        raise Invalid(f"{path}.output", described(expected.output), described(actual.output))
