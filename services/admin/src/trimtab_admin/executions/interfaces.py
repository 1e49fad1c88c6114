"""Check the calls of what is registered elsewhere against its interface. Pure."""

from collections.abc import Collection, Iterator

from trimtab import names
from trimtab.errors import Invalid
from trimtab.workflows.expansion import Referenced, ReferenceKey, Registry
from trimtab.workflows.graph import Interface, Node, Reference, Workflow


def check(workflow: Workflow, registry: Registry) -> None:
    """Check the references of a workflow, then each call of one. Raises `Invalid`."""
    interfaces = {}
    for name, reference in workflow.references.items():
        key = ReferenceKey.of(reference)
        actual = interface_of(key, registry[key])
        if actual is not None:
            _check_expected(f"references.{name}.interface", reference, actual)
            interfaces[name] = actual
    for path, node in _calls(workflow):
        if node.reference in interfaces:
            reference = workflow.references[node.reference]
            _check_names(f"{path}.inputs", reference, node.inputs, interfaces[node.reference])


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


def _calls(workflow: Workflow) -> Iterator[tuple[str, Node]]:
    for name, graph in workflow.graphs.items():
        prefix = f"workflows.{name}." if name else ""
        for index, node in enumerate(graph.nodes):
            if node.reference:
                yield f"{prefix}nodes.{index}", node


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
