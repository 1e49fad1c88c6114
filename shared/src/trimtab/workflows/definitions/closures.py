"""The closure of a workflow: all that its body and its sub-workflows call, by name. Pure."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeVar, runtime_checkable

from trimtab import names
from trimtab.errors import Invalid, Rejected
from trimtab.workflows.definitions.types import FunctionTypes
from trimtab.workflows.graphs.graph import Node, Task
from trimtab.workflows.graphs.node_overrides import NodeOverrides, merge_overrides
from trimtab.workflows.graphs.task_configs import check_task_config

_MAX_PATHS = 1000
"""How many hooks with a path are compared with an unknown one."""


@runtime_checkable
class Callee(Protocol):
    """A definition that a body can call."""

    @property
    def name(self) -> str: ...

    @property
    def signature(self) -> inspect.Signature: ...

    @property
    def types(self) -> FunctionTypes:
        """The types of its inputs and its output."""
        ...

    @property
    def place(self) -> str:
        """Where it is written: ``file, line N``."""
        ...


class TaskCallee(Callee, Protocol):
    """A task that is registered with the workflow."""

    @property
    def graph(self) -> Task: ...


class ReferenceCallee(Callee, Protocol):
    """A task, workflow or launch plan that is registered elsewhere."""

    @property
    def type_(self) -> str:
        """The type of its `Reference`."""
        ...


@runtime_checkable
class WorkflowCallee(Callee, Protocol):
    """A sub-workflow, which is traced once."""

    @property
    def traced(self) -> "Traced": ...


class Traced(Protocol):
    """A workflow whose body has run."""

    @property
    def closure(self) -> "Closure": ...

    @property
    def finished(self) -> dict[str, Node]:
        """Its nodes by their id."""
        ...


@dataclass(frozen=True, eq=False)
class HookPlace:
    """The call that has a hook. A workflow that is called twice has each hook once."""

    workflow: str
    place: str

    def __str__(self) -> str:
        return f"workflow {self.workflow} ({self.place})"


C = TypeVar("C", bound=Callee)


@dataclass
class Closure:
    """Definitions and hooks by name, which grow while a body runs. A name for two is refused."""

    workflow: str
    tasks: dict[str, TaskCallee] = field(default_factory=dict)
    workflows: dict[str, WorkflowCallee] = field(default_factory=dict)
    """The workflow itself, and its sub-workflows."""
    references: dict[str, ReferenceCallee] = field(default_factory=dict)
    hooks: dict[str, HookPlace] = field(default_factory=dict)
    size: int = 0
    """The number of nodes once sub-workflows are expanded; a reference counts as one."""
    depth: int = 1
    """The number of workflows inside each other."""

    @property
    def has_unknown_hooks(self) -> bool:
        """Whether there may be hooks in workflows that are registered elsewhere."""
        return any(reference.type_ != "task" for reference in self.references.values())

    def add_task(self, task: TaskCallee) -> None:
        _add(f"workflow {self.workflow} calls two tasks", self.tasks, task)
        self.size += 1

    def add_reference(self, reference: ReferenceCallee) -> None:
        _add(f"workflow {self.workflow} calls two references", self.references, reference)
        self.size += 1

    def add_workflow(self, called: WorkflowCallee) -> None:
        """Add a sub-workflow with all that it calls. Raises `Rejected`."""
        inner = called.traced.closure
        self.size += inner.size
        self.depth = max(self.depth, inner.depth + 1)
        if self.workflows.get(called.name) is called:
            return
        for workflow in inner.workflows.values():
            _add(f"workflow {self.workflow} calls, or is, two workflows", self.workflows, workflow)
        for task in inner.tasks.values():
            _add(f"workflow {self.workflow} calls two tasks", self.tasks, task)
        for reference in inner.references.values():
            _add(f"workflow {self.workflow} calls two references", self.references, reference)
        for name, hook in inner.hooks.items():
            self.add_hook(name, hook)

    def add_hook(self, name: str, hook: HookPlace) -> None:
        """Add a hook. Raises `Rejected` where another call has the name."""
        other = self.hooks.setdefault(name, hook)
        if other is not hook:
            raise Rejected(
                f"two calls have the hook {name!r}: one in {other}, one in {hook}; rename one, "
                "because an override of this name could mean either"
            )


def knows_hook(traced: Traced, key: str) -> bool:
    """Return whether a workflow may have a hook: by ``name``, or by the whole ``path/name``."""
    *path, name = key.split("/")
    if not path:
        return name in traced.closure.hooks or traced.closure.has_unknown_hooks
    for step in path:
        node = traced.finished.get(step)
        if node is None or node.task:
            return False
        if node.reference:
            return traced.closure.references[node.reference].type_ != "task"
        traced = traced.closure.workflows[node.workflow].traced
    return any(node.hook.name == name for node in traced.finished.values() if node.hook)


def hook_paths(traced: Traced, path: str = "") -> Iterator[str]:
    """Yield ``path/name`` of each hook in the sub-workflows of a workflow."""
    for node in traced.finished.values():
        if node.workflow:
            inner = traced.closure.workflows[node.workflow].traced
            yield from hook_paths(inner, f"{path}{node.id}/")
        elif node.hook and path:
            yield path + node.hook.name


def check_hook(path: str, called: WorkflowCallee, key: str) -> None:
    """Raise `Invalid` where a workflow has no such hook, and calls none that may have it."""
    traced = called.traced
    if knows_hook(traced, key):
        return
    known = list(traced.closure.hooks)
    listed = names.listed(known) or f"(no call in {called.name} has a hook)"
    known += islice(hook_paths(traced), _MAX_PATHS)
    raise Invalid(path, key, f"the hooks of {called.name}: {listed}{names.question(key, known)}")


def check_task_configs(path: str, called: WorkflowCallee, given: NodeOverrides, hook: str) -> None:
    """Check that the types of ``task_config`` stay those of each task that overrides apply to.

    They apply to all tasks where ``hook`` is empty. Raises `Invalid`.
    """
    if given.task_config is None:
        return
    name = hook.rpartition("/")[2]
    closure = called.traced.closure
    for workflow in closure.workflows.values():
        for node in workflow.traced.finished.values():
            if not node.task or (name and (node.hook is None or node.hook.name != name)):
                continue
            own = merge_overrides(closure.tasks[node.task].graph.config, node.overrides)
            if node.hook is not None and name:
                own = merge_overrides(own, node.hook.default)
            check_task_config(path, own, given)


def _add(sentence: str, known: dict[str, C], callee: C) -> None:
    other = known.setdefault(callee.name, callee)
    if other is not callee:
        places = f"one in {other.place}, one in {callee.place}"
        raise Rejected(f"{sentence} of the name {callee.name!r}: {places}; rename one")
