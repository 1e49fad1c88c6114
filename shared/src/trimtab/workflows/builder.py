"""The graph of a workflow while its body runs once: promises for values, nodes for calls. Pure."""

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from trimtab.errors import Invalid, Rejected
from trimtab.models import json_value, parse_model
from trimtab.workflows.graph import Binding, Constant, FromNode, Hook, Node, NodeOverrides
from trimtab.workflows.overrides import Resources, merged, node_overrides


class Called(Protocol):
    """A task, as a trace needs to know it."""

    @property
    def name(self) -> str: ...

    @property
    def function(self) -> Callable[..., object]: ...


class Promise:
    """A value that is not there while the workflow is traced; it can only be handed on."""

    def __init__(self, binding: Binding) -> None:
        self.binding = binding

    def _no_value(self, *_args: object) -> NoReturn:
        raise Rejected(
            "a promise has no value while the workflow is traced: hand it to a task as it is"
        )

    __bool__ = __iter__ = __getitem__ = __len__ = __int__ = __float__ = _no_value


class NodePromise(Promise):
    """What a node will return, and the node itself to be configured."""

    def __init__(self, trace: "Trace", node: str) -> None:
        super().__init__(FromNode(node=node))
        self._trace = trace
        self._node = node

    def with_overrides(
        self,
        *,
        resources: Resources | None = None,
        retries: int | None = None,
        interruptible: bool | None = None,
        container_image: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> "NodePromise":
        """Other values than the task's own, fixed at registration; later calls win by field."""
        more = node_overrides(resources, retries, interruptible, container_image, environment)
        before = self._trace.nodes[self._node].overrides
        self._trace.change(self._node, overrides=merged(before, more))
        return self

    def with_runtime_override(
        self, name: str, default: NodeOverrides | None = None
    ) -> "NodePromise":
        """Let launch plans and executions change this node under a name. Raises `Invalid`."""
        hook = parse_model(Hook, {"name": name, "default": default or NodeOverrides()})
        self._trace.hook(self._node, hook)
        return self


@dataclass
class Trace:
    """What the calls seen so far add up to."""

    workflow: str
    tasks: dict[str, Called] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    output: Binding | None = None

    def add(self, called: Called, arguments: Mapping[str, object]) -> NodePromise:
        """One more call. Raises `Rejected` where the task cannot be called so."""
        node = f"n{len(self.nodes)}"
        if self.tasks.setdefault(called.name, called) is not called:
            raise Invalid(f"{self.workflow}.{node}", called.name, "one task of each name")
        try:
            inspect.signature(called.function).bind(**arguments)
        except TypeError as error:
            raise Rejected(f"{called.name} called in {self.workflow}: {error}") from error
        inputs = {name: binding(f"{called.name}: {name}", v) for name, v in arguments.items()}
        self.nodes[node] = Node(id=node, task=called.name, inputs=inputs)
        return NodePromise(self, node)

    def change(self, node: str, **values: object) -> None:
        self.nodes[node] = self.nodes[node].model_copy(update=values)

    def hook(self, node: str, hook: Hook) -> None:
        """Name a node. Raises `Invalid` where the name or the node is taken."""
        path = f"{self.workflow}: hook"
        if any(other.hook and other.hook.name == hook.name for other in self.nodes.values()):
            raise Invalid(path, hook.name, "a name that no other hook of the workflow has")
        if (before := self.nodes[node].hook) is not None:
            raise Invalid(path, hook.name, f"one hook per node, and it has {before.name!r}")
        self.change(node, hook=hook)


current: ContextVar[Trace | None] = ContextVar("trimtab_trace", default=None)
"""The workflow that is traced; ``None`` outside."""


def binding(path: str, value: object) -> Binding:
    """A promise as it is, anything else as a constant. Raises `Invalid`."""
    if isinstance(value, Promise):
        return value.binding
    return Constant(value=json_value(path, value))
