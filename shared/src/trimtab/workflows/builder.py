"""Build the graph of a workflow while its body runs once: a node for each call of a task. Pure."""

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from trimtab.errors import Invalid, Rejected
from trimtab.models import json_value, parse_model
from trimtab.workflows.graph import Binding, Constant, FromNode, Hook, Node
from trimtab.workflows.node_overrides import NodeOverrides, merge_overrides
from trimtab.workflows.overrides import Resources, node_overrides


class CalledTask(Protocol):
    """A task, reduced to what the builder requires of it."""

    @property
    def name(self) -> str: ...

    @property
    def function(self) -> Callable[..., object]: ...


class Promise:
    """A value that does not exist while the graph is built; a body can only pass it to tasks."""

    def __init__(self, binding: Binding) -> None:
        self.binding = binding

    def _no_value(self, *_args: object) -> NoReturn:
        raise Rejected(
            "a promise has no value while the body of a workflow builds its graph: pass it to a "
            "task unchanged"
        )

    __bool__ = __iter__ = __getitem__ = __len__ = __int__ = __float__ = _no_value


class NodePromise(Promise):
    """The value that a node will return; its methods configure the node."""

    def __init__(self, builder: "GraphBuilder", node: str) -> None:
        super().__init__(FromNode(node=node))
        self._builder = builder
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
        """Replace values of the task at registration; a later call wins, field by field."""
        overrides = node_overrides(resources, retries, interruptible, container_image, environment)
        earlier = self._builder.nodes[self._node].overrides
        self._builder.update_node(self._node, overrides=merge_overrides(earlier, overrides))
        return self

    def with_runtime_override(
        self, name: str, default: NodeOverrides | None = None
    ) -> "NodePromise":
        """Let launch plans and executions override this node by a name. Raises `Invalid`."""
        hook = parse_model(Hook, {"name": name, "default": default or NodeOverrides()})
        self._builder.set_hook(self._node, hook)
        return self


@dataclass
class GraphBuilder:
    """The graph of one workflow, complete once the body has run."""

    workflow: str
    tasks: dict[str, CalledTask] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    output: Binding | None = None

    def add_node(self, task: CalledTask, arguments: Mapping[str, object]) -> NodePromise:
        """Add a node for a call. Raises `Rejected` where the task has no such parameters."""
        node = f"n{len(self.nodes)}"
        if self.tasks.setdefault(task.name, task) is not task:
            raise Invalid(f"{self.workflow}.{node}", task.name, "one task of each name")
        try:
            inspect.signature(task.function).bind(**arguments)
        except TypeError as error:
            raise Rejected(f"{task.name} called in {self.workflow}: {error}") from error
        inputs = {name: bind(f"{task.name}: {name}", value) for name, value in arguments.items()}
        self.nodes[node] = Node(id=node, task=task.name, inputs=inputs)
        return NodePromise(self, node)

    def update_node(self, node: str, **values: object) -> None:
        self.nodes[node] = self.nodes[node].model_copy(update=values)

    def set_hook(self, node: str, hook: Hook) -> None:
        """Give a node a hook. Raises `Invalid` where it has one, or another node has the name."""
        path = f"{self.workflow}: hook"
        if any(other.hook and other.hook.name == hook.name for other in self.nodes.values()):
            raise Invalid(path, hook.name, "a name that no other hook of the workflow has")
        if (existing := self.nodes[node].hook) is not None:
            raise Invalid(path, hook.name, f"one hook per node, and it has {existing.name!r}")
        self.update_node(node, hook=hook)


active: ContextVar[GraphBuilder | None] = ContextVar("trimtab_graph_builder", default=None)
"""The builder of the workflow whose body is running; ``None`` outside such a body."""


def bind(path: str, value: object) -> Binding:
    """Return the binding of a promise, or a constant for any other value. Raises `Invalid`."""
    if isinstance(value, Promise):
        return value.binding
    return Constant(value=json_value(path, value))
