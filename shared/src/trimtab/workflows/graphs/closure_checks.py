"""Check all graphs that a workflow calls, each once, before any of their nodes is made. Pure."""

from typing import NamedTuple

from trimtab.errors import Invalid
from trimtab.workflows.graphs.callees import Callee, Callees, ReferenceKey
from trimtab.workflows.graphs.graph import MAX_NODES, Node
from trimtab.workflows.graphs.launch_plans import MAX_DEPTH


class _Measures(NamedTuple):
    nodes: int
    """The number of nodes once all calls in the graph are expanded."""
    depth: int
    """The number of graphs inside each other, this one included."""


class ClosureChecks:
    """Measures graphs, and finds the hooks that two nodes have."""

    def __init__(self, callees: Callees) -> None:
        self._callees = callees
        self._measures: dict[tuple[ReferenceKey | None, str], _Measures] = {}
        self._hooks: dict[str, str] = {}
        """The node of each hook, in words."""

    def check(self, callee: Callee, around: tuple[Callee, ...] = ()) -> _Measures:
        """Check a graph and those that it calls, and return its measures. Raises `Invalid`."""
        if any(callee.template == each.template for each in around):
            raise Invalid("workflows", str(callee), "a workflow that does not call itself")
        if callee.template not in self._measures:
            _check_depth(callee, len(around) + 1)
            self._measures[callee.template] = self._measure(callee, (*around, callee))
        return self._measures[callee.template]

    def _measure(self, callee: Callee, around: tuple[Callee, ...]) -> _Measures:
        nodes, depth = 0, 1
        for node in callee.graph.nodes:
            inner = self._callees.graph(callee.scope, node)
            measures = _Measures(1, 0) if inner is None else self.check(inner, around)
            nodes, depth = nodes + measures.nodes, max(depth, measures.depth + 1)
            if node.hook is not None:
                self._check_hook(callee, node, node.hook.name)
        _check_depth(callee, depth)
        if nodes > MAX_NODES:
            raise Invalid("nodes", f"{nodes} nodes in {callee}", f"at most {MAX_NODES} nodes")
        return _Measures(nodes, depth)

    def _check_hook(self, callee: Callee, node: Node, hook: str) -> None:
        this = f"node {node.id} of {callee}"
        if (other := self._hooks.setdefault(hook, this)) != this:
            allowed = f"a hook that no other node has; two have it, {other} and {this}"
            raise Invalid("hook", hook, allowed)


def _check_depth(callee: Callee, depth: int) -> None:
    if depth > MAX_DEPTH + 1:
        allowed = f"at most {MAX_DEPTH} sub-workflows inside each other"
        raise Invalid("workflows", str(callee), allowed)
