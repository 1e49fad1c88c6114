"""Build the graph of a workflow while its body runs once: a node for each call in it. Pure."""

import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, Unpack

from trimtab.errors import Invalid, Rejected
from trimtab.models import parse_model
from trimtab.workflows.definitions.closures import (
    Callee,
    Closure,
    HookPlace,
    ReferenceCallee,
    TaskCallee,
    WorkflowCallee,
    check_hook,
    check_task_configs,
)
from trimtab.workflows.definitions.functions import calling_place
from trimtab.workflows.definitions.overrides import (
    OverrideArguments,
    RuntimeOverride,
    node_overrides,
    overrides_of,
)
from trimtab.workflows.definitions.promises import Unreadable, contains_promise
from trimtab.workflows.definitions.types import DeclaredType
from trimtab.workflows.graphs.expansion import MAX_DEPTH
from trimtab.workflows.graphs.graph import (
    ID,
    MAX_NODES,
    Binding,
    Constant,
    FromInput,
    FromNode,
    Hook,
    Node,
)
from trimtab.workflows.graphs.node_overrides import NO_OVERRIDES, NodeOverrides, merge_overrides
from trimtab.workflows.graphs.task_configs import check_task_config
from trimtab.workflows.values.fitting import may_fit
from trimtab.workflows.values.schemas import Schema, described

_MAX_ID_CHARACTERS = 63
_OWN_ID = re.compile(r"n\d+")

CalleeField = Literal["task", "workflow", "reference"]


class Promise(Unreadable):
    """A value that does not exist while the graph is built; a body can only pass it to calls."""

    binding: Binding
    builder: "GraphBuilder"
    schema: Schema
    """The type of the value."""

    def __init__(
        self, builder: "GraphBuilder", binding: Binding, schema: Schema, description: str
    ) -> None:
        super().__init__(f"{description} of workflow {builder.workflow}")
        vars(self).update(binding=binding, builder=builder, schema=schema)

    def _refused(self, error: Rejected) -> None:
        self.builder.note_refusal(error, calling_place())


class NodePromise(Promise):
    """The value that a call will return; its methods configure the call."""

    _node: str
    _called: Callee

    def __init__(self, builder: "GraphBuilder", node: str, called: Callee) -> None:
        binding, schema = FromNode(node=node), called.types.output.output_schema
        super().__init__(builder, binding, schema, f"output of {called.name} (node {node})")
        vars(self).update(_node=node, _called=called)

    def with_overrides(
        self, *, node_name: str | None = None, **overrides: Unpack[OverrideArguments]
    ) -> "NodePromise":
        """Replace values of the task at registration; a later call wins, field by field.

        On the call of a workflow, they apply to each task in it that does not set the field by
        ``with_overrides`` itself. ``node_name`` chooses the id of the node.
        """
        self._check_configurable("with_overrides", {"node_name": node_name, **overrides})
        given = node_overrides(**overrides)
        self._check_task_config(f"{self._called.name}: with_overrides", given)
        earlier = self.builder.nodes[self._node].overrides
        if node_name is not None:
            self.builder.choose_id(self._node, node_name)
        self.builder.update_node(self._node, overrides=merge_overrides(earlier, given))
        return self

    def with_runtime_override(
        self, name: str, config: RuntimeOverride | None = None
    ) -> "NodePromise":
        """Let launch plans and executions override this call by a name, with other defaults.

        On the call of a workflow, ``name`` or ``path/name`` is a hook in it, which gets other
        defaults for this call. Raises `Invalid`.
        """
        self._check_configurable("with_runtime_override", {"name": name, "config": config})
        path = f"{self._called.name}: hook {name}"
        default = NO_OVERRIDES if config is None else overrides_of(path, config)
        node = self.builder.nodes[self._node]
        if node.task or getattr(self._called, "type_", "") == "task":
            hook = parse_model(Hook, {"name": name, "default": default})
            self.builder.set_hook(self._node, hook)
        else:
            self.builder.set_inner_hook(self._node, self._called, name, default)
        self._check_task_config(path, default, hook=name)
        return self

    def _check_task_config(self, path: str, given: NodeOverrides, hook: str = "") -> None:
        """Check the types of ``task_config`` for each task that the overrides apply to."""
        if (node := self.builder.nodes[self._node]).task:
            own = self.builder.closure.tasks[node.task].graph.config
            check_task_config(path, merge_overrides(own, node.overrides), given)
        elif isinstance(self._called, WorkflowCallee):
            check_task_configs(path, self._called, given, hook)

    def _check_configurable(self, method: str, given: Mapping[str, Any]) -> None:
        if active.get() is not self.builder:
            raise Rejected(
                f"{method} on {self!r} outside of the body of its workflow, whose graph is complete"
            )
        for name, value in given.items():
            if contains_promise(value):
                raise Rejected(
                    f"{method} on {self!r}: {name} is a promise, which has no value when the "
                    "workflow is registered; use a constant here, and a hook to change it later"
                )


@dataclass
class GraphBuilder:
    """The graph of one workflow, complete once the body has run."""

    owner: WorkflowCallee
    outer: "GraphBuilder | None" = None
    """The builder of the workflow whose body calls this one for the first time."""
    nodes: dict[str, Node] = field(default_factory=dict)
    """By the id that a node has while the body runs."""
    finished: dict[str, Node] = field(default_factory=dict)
    """By the ids that the body has chosen, once it has run."""
    output: Binding | None = None
    refusal: Rejected | None = None
    """The first error of an operation on a promise in the body itself."""
    _chosen: dict[str, str] = field(default_factory=dict)
    """The ids that the body has chosen, by those that nodes have while it runs."""
    _by_chosen: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.closure = Closure(self.workflow, workflows={self.workflow: self.owner})

    @property
    def workflow(self) -> str:
        return self.owner.name

    def input_promises(self) -> dict[str, Promise]:
        """Return a promise for each input of the workflow."""
        return {
            name: Promise(self, FromInput(name=name), declared.schema, f"input {name}")
            for name, declared in self.owner.types.inputs.items()
        }

    def add_task(self, task: TaskCallee, *args: object, **kwargs: object) -> NodePromise:
        """Add a node for a call. Raises `Rejected`."""
        inputs = self._inputs(task, args, kwargs)
        self.closure.add_task(task)
        return self._add_node("task", task, inputs)

    def add_workflow(self, called: WorkflowCallee, *args: object, **kwargs: object) -> NodePromise:
        inputs = self._inputs(called, args, kwargs)
        self.closure.add_workflow(called)
        return self._add_node("workflow", called, inputs)

    def add_reference(
        self, called: ReferenceCallee, *args: object, **kwargs: object
    ) -> NodePromise:
        inputs = self._inputs(called, args, kwargs)
        self.closure.add_reference(called)
        return self._add_node("reference", called, inputs)

    def update_node(self, node: str, **values: object) -> None:
        self.nodes[node] = self.nodes[node].model_copy(update=values)

    def choose_id(self, node: str, chosen: str) -> None:
        """Replace the id of a node. Raises `Invalid` where another node has it, or may get it."""
        path = f"{self.workflow}: node_name"
        if not isinstance(chosen, str):
            raise Invalid(path, chosen, "a name")
        is_free = chosen == node or not _OWN_ID.fullmatch(chosen)
        # Dots separate the ids of the calls around a node.
        is_id = ID.fullmatch(chosen) and "." not in chosen and len(chosen) <= _MAX_ID_CHARACTERS
        if not (is_free and is_id):
            allowed = (
                f"at most {_MAX_ID_CHARACTERS} letters, digits, _ and - after a letter or digit; "
                "n0, n1 and so on are taken"
            )
            raise Invalid(path, chosen, allowed)
        if self._by_chosen.setdefault(chosen, node) != node:
            raise Invalid(path, chosen, "a name that no other node of the workflow has")
        if (earlier := self._chosen.get(node, chosen)) != chosen:
            del self._by_chosen[earlier]
        self._chosen[node] = chosen

    def set_hook(self, node: str, hook: Hook) -> None:
        """Give a node a hook. Raises `Rejected` where it has one, or another node has the name."""
        if (existing := self.nodes[node].hook) is not None:
            path = f"{self.workflow}: hook"
            raise Invalid(path, hook.name, f"one hook per node, and it has {existing.name!r}")
        self.closure.add_hook(hook.name, HookPlace(self.workflow, calling_place()))
        self.update_node(node, hook=hook)

    def set_inner_hook(self, node: str, called: Callee, name: str, default: NodeOverrides) -> None:
        """Give a hook in a called workflow another default. Raises `Invalid`."""
        path, hooks = f"{self.workflow}: hook", self.nodes[node].hooks
        if not isinstance(name, str):
            raise Invalid(path, name, "the name of a hook")
        if name in hooks:
            raise Invalid(path, name, f"a hook that this call of {called.name} does not set yet")
        if isinstance(called, WorkflowCallee):
            check_hook(path, called, name)
        self.update_node(node, hooks={**hooks, name: default})

    def note_refusal(self, error: Rejected, place: str) -> None:
        """Keep an error, in case ``except`` around the operation hides it.

        One in another file is not the body's: a debugger or a logger may only try to show a value.
        """
        file, _, _ = place.rpartition(", line ")
        if file == self.owner.place.rpartition(", line ")[0]:
            self.refusal = self.refusal or error

    def finish(self, returned: object) -> None:
        """Complete the graph with what the body has returned. Raises `Rejected`."""
        if not self.nodes:
            raise Rejected(f"workflow {self.workflow} calls no task")
        path, declared = f"{self.workflow}: return", self.owner.types.output.as_output
        output = self.bind(path, returned, declared)
        if returned is not None:
            self.output = self._renamed(output)
        for node in self._finished_nodes():
            self.finished[node.id] = node

    def bind(self, path: str, value: object, declared: DeclaredType) -> Binding:
        """Return the binding of a promise, or a constant for any other value.

        Raises `Rejected`, also for a promise of which no value can be of the declared type.
        """
        if isinstance(value, Promise):
            if value.builder is not self:
                raise Rejected(
                    f"{path}: {value!r} is used in workflow {self.workflow}; return it from its "
                    "workflow, or pass it as an input"
                )
            if not may_fit(value.schema, declared.schema):
                given = f"{value!r}, which is {described(value.schema)},"
                raise Invalid(path, given, described(declared.schema))
            return value.binding
        if callable(value):
            name = getattr(value, "__name__", None) or type(value).__name__
            raise Rejected(f"{path}: {name} is passed without its call; write {name}(…)")
        if contains_promise(value):
            raise Rejected(
                f"{path}: a promise is inside a {type(value).__name__}; pass each promise "
                "directly, and build such values in a task"
            )
        return Constant(value=declared.to_json(path, value))

    def _inputs(
        self, called: Callee, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> dict[str, Binding]:
        if args:
            raise Rejected(f"{called.name}: in a workflow, calls have keyword arguments only")
        try:
            called.signature.bind(**kwargs)
        except TypeError as error:
            raise Rejected(f"{called.name} called in {self.workflow}: {error}") from error
        declared = called.types.inputs
        return {
            name: self.bind(f"{called.name}: {name}", each, declared[name])
            for name, each in kwargs.items()
        }

    def _add_node(
        self, callee: CalleeField, called: Callee, inputs: dict[str, Binding]
    ) -> NodePromise:
        self._check_size()
        id_ = f"n{len(self.nodes)}"
        self.nodes[id_] = Node.model_validate({"id": id_, callee: called.name, "inputs": inputs})
        return NodePromise(self, id_, called)

    def _check_size(self) -> None:
        if self.closure.size > MAX_NODES:
            raise Rejected(
                f"workflow {self.workflow} has {self.closure.size} nodes with those of its "
                f"sub-workflows; allowed: at most {MAX_NODES}"
            )
        if self.closure.depth > MAX_DEPTH + 1:
            raise Rejected(
                f"workflow {self.workflow} has sub-workflows {self.closure.depth - 1} deep; "
                f"allowed: at most {MAX_DEPTH}"
            )

    def _finished_nodes(self) -> Iterator[Node]:
        if not self._chosen:
            yield from self.nodes.values()
            return
        for node in self.nodes.values():
            id_ = self._chosen.get(node.id, node.id)
            inputs = {name: self._renamed(each) for name, each in node.inputs.items()}
            yield node.model_copy(update={"id": id_, "inputs": inputs})

    def _renamed(self, binding: Binding) -> Binding:
        if isinstance(binding, FromNode) and binding.node in self._chosen:
            return FromNode(node=self._chosen[binding.node])
        return binding


active: ContextVar[GraphBuilder | None] = ContextVar("trimtab_graph_builder", default=None)
"""The builder of the workflow whose body is running; ``None`` outside such a body."""
