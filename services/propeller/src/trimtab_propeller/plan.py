"""What an execution needs next, from its graph and the state that its log adds up to. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from trimtab.messages.executions import NodeState, Request, State
from trimtab.workflows.graph import Binding, Constant, FromInput, FromNode, Node

MAX_LOST = 3
"""How many attempts of a node may be lost, as the task itself may be what takes its host down."""


@dataclass(frozen=True)
class Attempt:
    """A node must be run, or its run be seen to its end where somebody has started it."""

    node: Node
    number: int
    inputs: Mapping[str, JsonValue]


@dataclass(frozen=True)
class Succeed:
    """Every node succeeded."""

    output: JsonValue


@dataclass(frozen=True)
class Fail:
    """A node failed for good, and no other is at work."""

    node: str
    error: str


Step = Attempt | Succeed | Fail


def steps(request: Request, state: State) -> list[Step]:
    """Everything that can be done now; nothing while all that is left waits for what runs."""
    nodes = {node.id: state.nodes.get(node.id, NodeState()) for node in request.workflow.nodes}
    failed = next((name for name, node in nodes.items() if node.phase == "failed"), None)
    attempts: list[Step] = []
    for node in request.workflow.nodes:
        current = nodes[node.id]
        started = current.phase in ("starting", "running")
        # After a failure nothing more is started, but what runs is seen to its end.
        ready = current.phase == "waiting" and failed is None
        if started or (ready and all(nodes[n].phase == "succeeded" for n in node.waits_for)):
            inputs = {name: value(b, request, nodes) for name, b in node.inputs.items()}
            attempts.append(Attempt(node, current.attempt, inputs))
    if attempts:
        return attempts
    if failed is not None:
        return [Fail(failed, nodes[failed].reason)]
    output = request.workflow.output
    return [Succeed(None if output is None else value(output, request, nodes))]


def value(binding: Binding, request: Request, nodes: Mapping[str, NodeState]) -> JsonValue:
    """Of a binding whose node, if it names one, has succeeded."""
    match binding:
        case Constant():
            return binding.value
        case FromInput():
            return request.inputs[binding.name]
        case FromNode():
            return nodes[binding.node].output


def is_final(node: NodeState, *, retries: int, lost: bool) -> bool:
    """Whether no attempt is left after the current one has failed, or was lost."""
    if lost:
        return node.interrupted >= MAX_LOST
    return node.attempt - node.interrupted >= retries
