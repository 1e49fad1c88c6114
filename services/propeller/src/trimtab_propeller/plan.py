"""Decide what an execution does next, and whether a node is tried again. Pure.

The decisions depend only on the workflow's graph and the state that the execution log replays to.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from trimtab.messages.executions import NodeState, Request, State
from trimtab.workflows.graph import Binding, Constant, FromInput, FromNode, Node

MAX_INTERRUPTED = 3
"""How many attempts of a node may be interrupted before it fails: its task may be the cause."""


@dataclass(frozen=True)
class RunAttempt:
    """Run an attempt of a node, or adopt it where it was started before."""

    node: Node
    number: int
    """The number of the attempt, from 0."""
    inputs: Mapping[str, JsonValue]


@dataclass(frozen=True)
class Succeed:
    """End the execution: every node has succeeded."""

    output: JsonValue


@dataclass(frozen=True)
class Fail:
    """End the execution: a node has failed, and no other one is running."""

    node: str
    error: str


End = Succeed | Fail


def next_steps(request: Request, state: State) -> list[RunAttempt] | End:
    """Return the attempts that can run now, or the end of the execution if there are none.

    An attempt that was started is returned until it has ended, so that a new owner adopts it.
    """
    nodes = {node.id: state.nodes.get(node.id, NodeState()) for node in request.workflow.nodes}
    failed = next((name for name, node in nodes.items() if node.phase == "failed"), None)
    attempts: list[RunAttempt] = []
    for node in request.workflow.nodes:
        current = nodes[node.id]
        is_started = current.phase in ("starting", "running")
        # After a failure no other node is started, but running ones are followed to their end.
        may_start = current.phase == "waiting" and failed is None
        if is_started or (may_start and all(nodes[n].phase == "succeeded" for n in node.waits_for)):
            inputs = {name: resolve_binding(b, request, nodes) for name, b in node.inputs.items()}
            attempts.append(RunAttempt(node, current.attempt, inputs))
    if attempts:
        return attempts
    if failed is not None:
        return Fail(failed, nodes[failed].reason)
    output = request.workflow.output
    return Succeed(None if output is None else resolve_binding(output, request, nodes))


def resolve_binding(
    binding: Binding, request: Request, nodes: Mapping[str, NodeState]
) -> JsonValue:
    """Return the value of a binding. The node that it names, if any, must have succeeded."""
    match binding:
        case Constant():
            return binding.value
        case FromInput():
            return request.inputs[binding.name]
        case FromNode():
            return nodes[binding.node].output


def is_last_attempt(node: NodeState, *, retries: int, interrupted: bool) -> bool:
    """Return whether the node fails for good when its current attempt fails or is interrupted.

    An interrupted attempt does not count as one of the ``retries``, and one that propeller stopped
    itself counts as neither.
    """
    if interrupted:
        return node.interrupted >= MAX_INTERRUPTED
    return node.attempt - node.interrupted - node.stopped >= retries
