"""Run the nodes of a workflow one after the other, by a function that runs one. Pure."""

from collections.abc import Callable, Mapping

from pydantic import JsonValue

from trimtab.workflows.graphs.graph import Binding, Constant, FromInput, FromNode, Node, Workflow

CallNode = Callable[[Node, Mapping[str, JsonValue]], JsonValue]
"""Returns the output of a node, given the values of its inputs."""


def run_nodes(workflow: Workflow, inputs: Mapping[str, JsonValue], call: CallNode) -> JsonValue:
    """Return the output of an expanded workflow. Raises `Invalid` for wrong inputs."""
    given = workflow.bind_inputs(inputs)
    outputs: dict[str, JsonValue] = {}
    for node in workflow.nodes:
        values = {name: _resolve(each, given, outputs) for name, each in node.inputs.items()}
        outputs[node.id] = call(node, values)
    return _resolve(workflow.output or Constant(value=None), given, outputs)


def _resolve(
    binding: Binding, inputs: Mapping[str, JsonValue], outputs: Mapping[str, JsonValue]
) -> JsonValue:
    """Return the value of a binding, given the workflow's inputs and outputs by node."""
    match binding:
        case Constant():
            return binding.value
        case FromInput():
            return inputs[binding.name]
        case FromNode():
            return outputs[binding.node]
