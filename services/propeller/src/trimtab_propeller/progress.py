"""Decide what an execution does next, and whether a node is tried again. Pure.

The decisions depend only on the workflow's graph and the state that the execution log replays to.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from trimtab.errors import Invalid
from trimtab.messages.executions import NodeState, Request, State
from trimtab.workflows.graphs.graph import Binding, Constant, FromInput, FromNode, Node
from trimtab.workflows.values.checking import check

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
    """End the execution: a node has failed, propeller gives up, or the output is of a wrong type.

    No attempt is running.
    """

    node: str
    """Empty where the execution fails as a whole."""
    error: str


End = Succeed | Fail

_NEW = NodeState()


class Progress:
    """Which attempts of an execution can run, kept up to date node by node.

    The whole graph costs what it has of nodes and of edges, in however many steps it is run.
    """

    def __init__(self, request: Request, state: State) -> None:
        """``state`` is the one that the execution log changes with each event."""
        nodes = request.workflow.nodes
        self._request = request
        self._state = state
        self._order = {node.id: index for index, node in enumerate(nodes)}
        self._nodes = {node.id: node for node in nodes}
        self._dependents: dict[str, list[str]] = {node.id: [] for node in nodes}
        self._awaited: dict[str, int] = {}
        self._succeeded: set[str] = set()
        self._failed: set[str] = set()
        for node in nodes:
            awaited = set(node.waits_for)
            self._awaited[node.id] = len(awaited)
            for other in awaited:
                self._dependents[other].append(node.id)

    def first_steps(self) -> list[RunAttempt]:
        """Return the attempts that can run now. Those that were started are adopted."""
        for name in self._nodes:
            self._count(name)
        return self._steps(self._nodes)

    def next_steps(self, node: str) -> list[RunAttempt]:
        """Return the attempts that can run because an attempt of this node has ended."""
        return self._steps([node, *self._count(node)])

    def end(self) -> End:
        """Return the end of the execution, in which no attempt can run any more."""
        if self._failed:
            name = min(self._failed, key=self._order.__getitem__)
            return Fail(name, self._of(name).reason)
        assert len(self._succeeded) == len(self._nodes)
        workflow = self._request.workflow
        if workflow.output is None:
            return Succeed(None)
        output = resolve_binding(workflow.output, self._request, self._state.nodes)
        try:
            # A task may declare more values than the workflow does.
            check("output", output, workflow.output_schema)
        except Invalid as error:
            return Fail("", str(error))
        return Succeed(output)

    @property
    def has_failed(self) -> bool:
        """Whether a node has failed, after which only started attempts go on."""
        return bool(self._failed)

    def _count(self, name: str) -> list[str]:
        """Count a node that has ended, and return the nodes that depend on it and no other one."""
        match self._of(name).phase:
            case "failed":
                self._failed.add(name)
            case "succeeded" if name not in self._succeeded:
                self._succeeded.add(name)
                for dependent in self._dependents[name]:
                    self._awaited[dependent] -= 1
                return [n for n in self._dependents[name] if not self._awaited[n]]
        return []

    def _steps(self, names: Iterable[str]) -> list[RunAttempt]:
        found = []
        for name in names:
            current, node = self._of(name), self._nodes[name]
            may_start = current.phase == "waiting" and not self._failed and not self._awaited[name]
            if current.is_started or may_start:
                outputs = self._state.nodes
                inputs = {
                    parameter: resolve_binding(binding, self._request, outputs)
                    for parameter, binding in node.inputs.items()
                }
                found.append(RunAttempt(node, current.attempt, inputs))
        return found

    def _of(self, name: str) -> NodeState:
        return self._state.nodes.get(name, _NEW)


def adopt(request: Request, state: State, node: str) -> RunAttempt:
    """Return the attempt of a node that was started, to follow or stop it. It has no inputs."""
    [found] = [each for each in request.workflow.nodes if each.id == node]
    return RunAttempt(found, state.nodes[node].attempt, {})


def started_elsewhere(state: State, location: str) -> list[str]:
    """Return the other locations that have attempts which were started and have not ended.

    Older releases did not record the location of an attempt; it counts as this one.
    """
    started = {node.location for node in state.nodes.values() if node.is_started}
    return sorted(started - {"", location})


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
