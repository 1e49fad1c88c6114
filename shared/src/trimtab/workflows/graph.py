"""Workflows as registered: tasks, nodes, hooks and launch plans, as they travel. Pure.

Task code is the text of one Python module, kept with the workflow, so that an execution runs the
code that was registered whatever happens to the file.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from trimtab.errors import Invalid
from trimtab.kinds.task_resource import ResourceSpec
from trimtab.labels import LabelKey, LabelValue
from trimtab.models import Model, Name


class ResourceOverrides(Model):
    """What a task asks for: Kubernetes quantities by resource."""

    requests: ResourceSpec = ResourceSpec()
    limits: ResourceSpec = ResourceSpec()


class NodeOverrides(Model):
    """What may be changed on a node. An absent field says nothing; 0, false and "" are values."""

    resources: ResourceOverrides | None = None
    retries: int | None = Field(default=None, ge=0, le=100)
    """Tries after the first one failed."""
    interruptible: bool | None = None
    container_image: str | None = Field(default=None, min_length=1)
    environment: dict[str, str] | None = None
    """Merged by key."""


class ExecutionConfig(Model):
    """What a launch plan or a request says of its executions. An absent field says nothing."""

    max_parallelism: int | None = Field(default=None, ge=1, le=2**31 - 1)
    """How many nodes may run at once."""
    interruptible: bool | None = None
    """Whether tasks may run where they can be interrupted."""
    overwrite_cache: bool | None = None
    """Whether tasks run again although their outputs are cached."""
    labels: dict[LabelKey, LabelValue] = {}
    """Of every object that is made for an execution, merged by key."""
    annotations: dict[LabelKey, str] = {}
    """As the labels."""
    environment: dict[str, str] = {}
    """Of every task, merged by key."""


class Task(Model):
    """A function of the module."""

    name: Name
    config: NodeOverrides = NodeOverrides()
    """What the definition itself asks for."""
    pool: str | None = None
    """The pool of which every attempt holds a token while it runs."""
    weight: int = Field(default=1, ge=1)
    """Units of the pool that one attempt takes."""


class Constant(Model):
    """A value written in the workflow."""

    type: Literal["constant"] = "constant"
    value: JsonValue


class FromInput(Model):
    """An input of the workflow."""

    type: Literal["input"] = "input"
    name: str


class FromNode(Model):
    """What another node returned."""

    type: Literal["node"] = "node"
    node: str


Binding = Annotated[Constant | FromInput | FromNode, Field(discriminator="type")]


class Hook(Model):
    """Under this name executions and launch plans may change the node."""

    name: Name
    default: NodeOverrides = NodeOverrides()


class Node(Model):
    """One call of a task."""

    id: str
    """``n0``, ``n1``, … in the order of the calls."""
    task: str
    inputs: dict[str, Binding]
    overrides: NodeOverrides = NodeOverrides()
    """Compile-time ``with_overrides``."""
    hook: Hook | None = None

    @property
    def waits_for(self) -> frozenset[str]:
        return frozenset(b.node for b in self.inputs.values() if isinstance(b, FromNode))


class Workflow(Model):
    """One registered version."""

    name: Name
    version: str = Field(min_length=1, max_length=128)
    inputs: dict[str, JsonValue] = {}
    """Default by input; ``None`` for an input that must be given. See `required`."""
    required: tuple[str, ...] = ()
    tasks: dict[str, Task]
    nodes: tuple[Node, ...] = Field(min_length=1)
    """In an order in which every node stands behind those it waits for."""
    output: Binding | None = None
    module: str
    """Python source that defines the tasks."""

    @property
    def hooks(self) -> dict[str, Node]:
        return {node.hook.name: node for node in self.nodes if node.hook}

    def check(self) -> None:
        """Raises `Invalid` where names do not fit together."""
        for name in self.required:
            if name not in self.inputs:
                raise Invalid("required", name, "inputs " + ", ".join(self.inputs))
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
            raise Invalid(path, binding.node, "a node that stands before this one")
        if isinstance(binding, FromInput) and binding.name not in self.inputs:
            raise Invalid(path, binding.name, "an input: " + ", ".join(self.inputs))

    def check_hooks(self, path: str, overrides: Mapping[str, NodeOverrides]) -> None:
        """Raises `Invalid` on a name that no node is hooked with."""
        for name in overrides:
            if name not in self.hooks:
                known = ", ".join(self.hooks) or "none, because no node of the workflow is hooked"
                raise Invalid(f"{path}.{name}", name, f"the hooks {known}")

    def bound(self, given: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Inputs of an execution, defaults filled in. Raises `Invalid`."""
        for name in given:
            if name not in self.inputs:
                raise Invalid(f"inputs.{name}", given[name], "inputs " + ", ".join(self.inputs))
        for name in self.required:
            if name not in given:
                raise Invalid(f"inputs.{name}", None, f"a value, because {self.name} needs it")
        return {**self.inputs, **given}


class LaunchPlan(ExecutionConfig):
    """A workflow with values of its own. The default one has the workflow's name and none."""

    name: Name
    workflow: Name
    version: str
    """Of the workflow."""
    inputs: dict[str, JsonValue] = {}
    runtime_override: dict[str, NodeOverrides] = {}
    """By hook."""
