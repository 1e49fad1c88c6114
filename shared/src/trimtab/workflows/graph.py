"""Models of registered workflows: tasks, nodes, hooks and launch plans. Pure.

The code of the tasks is the text of one Python module, stored with the workflow, so that an
execution runs the code that was registered even if the file changes or disappears.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from trimtab import names
from trimtab.errors import Invalid
from trimtab.kinds.task_resource import ResourceSpec
from trimtab.labels import LabelKey, LabelValue
from trimtab.models import MAX_UNITS, Integer, Model, Name, Switch
from trimtab.texts import DATA, MULTILINE

MAX_NODES = 5000
"""The most nodes of a workflow."""


class ResourceOverrides(Model):
    """Requests and limits of a task: Kubernetes quantities by resource."""

    requests: ResourceSpec = ResourceSpec()
    limits: ResourceSpec = ResourceSpec()


def _is_absent(value: object) -> bool:
    return value is None


def _is_empty_map(value: Mapping[str, object]) -> bool:
    return not value


class NodeOverrides(Model):
    """Values that replace those of a node.

    An absent field changes nothing; 0, false and empty text are values.
    """

    # A workflow of `MAX_NODES` nodes fits into a message because nothing absent is written.
    resources: ResourceOverrides | None = Field(default=None, exclude_if=_is_absent)
    retries: Integer | None = Field(default=None, ge=0, le=100, exclude_if=_is_absent)
    """The number of further tries after a failed one."""
    interruptible: Switch | None = Field(default=None, exclude_if=_is_absent)
    container_image: str | None = Field(default=None, min_length=1, exclude_if=_is_absent)
    environment: Annotated[dict[str, str] | None, MULTILINE] = Field(
        default=None, exclude_if=_is_absent
    )
    """Merged by key."""

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return self == _NO_OVERRIDES


_NO_OVERRIDES = NodeOverrides()


def _is_empty(overrides: NodeOverrides) -> bool:
    return overrides.is_empty


class ExecutionConfig(Model):
    """Values that a launch plan or a request sets for its executions.

    An absent field sets nothing.
    """

    max_parallelism: Integer | None = Field(default=None, ge=1, le=2**31 - 1)
    """The largest number of nodes that run at once."""
    interruptible: Switch | None = None
    """Whether tasks may run on machines that can be withdrawn at any time."""
    overwrite_cache: Switch | None = None
    """Whether tasks run again even if their outputs are cached."""
    labels: dict[LabelKey, LabelValue] = {}
    """Labels of every object that is created for an execution; merged by key."""
    annotations: Annotated[dict[LabelKey, str], MULTILINE] = {}
    """Annotations of every object that is created for an execution; merged by key."""
    environment: Annotated[dict[str, str], MULTILINE] = {}
    """Environment variables of every task; merged by key."""


class Task(Model):
    """A function of the module that can be a node."""

    name: Name
    config: NodeOverrides = NodeOverrides()
    """Values from the definition of the task."""
    pool: str | None = None
    """The pool of which each attempt holds a token while it runs."""
    weight: Integer = Field(default=1, ge=1, le=MAX_UNITS)
    """Units of the pool that one attempt takes."""


class Constant(Model):
    """A value written in the workflow."""

    type: Literal["constant"] = "constant"
    value: Annotated[JsonValue, DATA]


class FromInput(Model):
    """An input of the workflow."""

    type: Literal["input"] = "input"
    name: str


class FromNode(Model):
    """The value that another node returned."""

    type: Literal["node"] = "node"
    node: str


Binding = Annotated[Constant | FromInput | FromNode, Field(discriminator="type")]


class Hook(Model):
    """The name under which executions and launch plans may override a node."""

    name: Name
    default: NodeOverrides = NodeOverrides()


class Node(Model):
    """One call of a task."""

    id: Name
    """``n0``, ``n1``, … in the order of the calls. It is part of paths, names of pods and keys."""
    task: str
    inputs: dict[str, Binding]
    overrides: NodeOverrides = Field(default=_NO_OVERRIDES, exclude_if=_is_empty)
    """Values of ``with_overrides``, fixed at registration."""
    hook: Hook | None = Field(default=None, exclude_if=_is_absent)

    @property
    def waits_for(self) -> frozenset[str]:
        """Ids of the nodes whose outputs are inputs of this one."""
        return frozenset(b.node for b in self.inputs.values() if isinstance(b, FromNode))


InputType = Literal["string", "integer", "number", "boolean", "array", "object"]
"""A type of JSON Schema."""


class Workflow(Model):
    """One registered version of a workflow."""

    name: Name
    version: str = Field(min_length=1, max_length=128)
    inputs: Annotated[dict[str, JsonValue], DATA] = {}
    """Defaults by name of input; ``None`` for an input in `required`."""
    required: tuple[str, ...] = ()
    """Names of inputs that have no default."""
    input_types: dict[str, InputType] = Field(default={}, exclude_if=_is_empty_map)
    """Declared types by name of input; inputs without one take any value."""
    tasks: dict[str, Task]
    nodes: tuple[Node, ...] = Field(min_length=1)
    """Ordered so that each node comes after the nodes that it waits for."""
    output: Binding | None = None
    module: Annotated[str, DATA]
    """Source text of the Python module that defines the tasks."""

    @property
    def hooks(self) -> dict[str, Node]:
        """Nodes by the name of their hook."""
        return {node.hook.name: node for node in self.nodes if node.hook}

    def check(self) -> None:
        """Check that every name refers to something, once. Raises `Invalid`."""
        if len(self.nodes) > MAX_NODES:
            raise Invalid("nodes", f"{len(self.nodes)} nodes", f"at most {MAX_NODES} nodes")
        for path, named in (("required", self.required), ("input_types", self.input_types)):
            for name in named:
                if name not in self.inputs:
                    raise Invalid(path, name, "inputs " + ", ".join(self.inputs))
        seen: set[str] = set()
        hooks: set[str] = set()
        for index, node in enumerate(self.nodes):
            path = f"nodes.{index}"
            if node.id in seen:
                raise Invalid(f"{path}.id", node.id, "an id that no other node has")
            if node.task not in self.tasks:
                raise Invalid(f"{path}.task", node.task, ", ".join(self.tasks))
            for name, binding in node.inputs.items():
                self._check_binding(f"{path}.inputs.{name}", binding, seen)
            if node.hook:
                if node.hook.name in hooks:
                    raise Invalid(f"{path}.hook", node.hook.name, "a hook that no other node has")
                hooks.add(node.hook.name)
            seen.add(node.id)
        if self.output:
            self._check_binding("output", self.output, seen)

    def _check_binding(self, path: str, binding: Any, before: set[str]) -> None:
        if isinstance(binding, FromNode) and binding.node not in before:
            raise Invalid(path, binding.node, "a node that comes before this one")
        if isinstance(binding, FromInput) and binding.name not in self.inputs:
            raise Invalid(path, binding.name, "an input: " + ", ".join(self.inputs))

    def check_hooks(self, path: str, overrides: Mapping[str, NodeOverrides]) -> None:
        """Raise `Invalid` on a name that is not a hook of the workflow."""
        for name in overrides:
            if name not in self.hooks:
                known = ", ".join(self.hooks) or "(no node of the workflow has a hook)"
                raise Invalid(f"{path}.{name}", name, f"the hooks {known}")

    def bind_inputs(self, given: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Return the inputs of an execution, defaults filled in. Raises `Invalid`."""
        for name, value in given.items():
            self.check_input(name, value)
        if missing := [name for name in self.required if name not in given]:
            allowed = f"a value, because {self.name} requires {', '.join(missing)}"
            raise Invalid(f"inputs.{missing[0]}", None, allowed)
        return {**self.inputs, **given}

    def check_input(self, name: str, value: object) -> None:
        """Raise `Invalid` where the workflow has no such input."""
        if name not in self.inputs:
            allowed = "inputs " + (", ".join(self.inputs) or "(the workflow has none)")
            raise Invalid(f"inputs.{name}", value, allowed + names.question(name, self.inputs))


class LaunchPlan(ExecutionConfig):
    """A named set of values for executions of a workflow.

    The default launch plan has the name of the workflow and no values.
    """

    name: Name
    workflow: Name
    version: str
    """The version of the workflow."""
    inputs: Annotated[dict[str, JsonValue], DATA] = {}
    runtime_override: dict[str, NodeOverrides] = {}
    """Overrides by name of hook."""
