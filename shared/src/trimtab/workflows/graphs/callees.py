"""Find the tasks and the workflows that nodes call, also where they are registered elsewhere.

Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from trimtab.errors import Invalid
from trimtab.workflows.graphs.graph import Graph, Node, Reference, Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan


class ReferenceKey(NamedTuple):
    """Identifies one registered version."""

    type: str
    project: str
    domain: str
    name: str
    version: str

    @classmethod
    def of(cls, reference: Reference) -> "ReferenceKey":
        return cls(
            reference.type,
            reference.project,
            reference.domain,
            reference.name,
            reference.version,
        )

    def __str__(self) -> str:
        return f"{self.type} {self.project}/{self.domain}/{self.name} version {self.version}"


@dataclass(frozen=True)
class Referenced:
    """The registered objects that a reference names."""

    workflow: Workflow
    """The workflow; for a task, one of the same version that has the task."""
    launch_plan: LaunchPlan | None = None
    """For a launch plan: its inputs and overrides are defaults of the call, and its other values
    apply to the nodes of the call."""


Registry = Mapping[ReferenceKey, Referenced]
"""All that a workflow refers to, and that those refer to."""


def references(workflow: Workflow) -> list[ReferenceKey]:
    """Return what the workflow itself refers to."""
    return [ReferenceKey.of(reference) for reference in workflow.references.values()]


@dataclass(frozen=True)
class Scope:
    """One registered workflow, whose tables the names in its graphs refer to."""

    workflow: Workflow
    key: ReferenceKey | None = None
    """``None`` for the workflow that is expanded."""


class Callee(NamedTuple):
    """A graph that a node calls, with the scope of its names."""

    scope: Scope
    name: str = ""
    """The name of the sub-workflow; empty for the graph of the registered workflow itself."""
    launch_plan: LaunchPlan | None = None

    @property
    def graph(self) -> Graph:
        return self.scope.workflow.workflows[self.name] if self.name else self.scope.workflow

    @property
    def template(self) -> tuple[ReferenceKey | None, str]:
        """Identifies the graph, however often and by whatever launch plan it is called."""
        return self.scope.key, self.name

    def __str__(self) -> str:
        name, key = self.name or self.scope.workflow.name, self.scope.key
        return f"{name} (in {key})" if key else name


class Callees:
    """Finds what nodes call in what is registered."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def graph(self, scope: Scope, node: Node) -> Callee | None:
        """Return the graph that a node calls; ``None`` where it calls a task."""
        if node.workflow:
            return Callee(scope, node.workflow)
        if not node.reference or scope.workflow.references[node.reference].type == "task":
            return None
        key, found = self._find(scope, node)
        return Callee(Scope(found.workflow, _key_of(key, found)), "", found.launch_plan)

    def task(self, scope: Scope, node: Node) -> tuple[Scope, str]:
        """Return the scope of the task that a node calls, and its name in the tasks there."""
        if node.task:
            return scope, node.task
        key, found = self._find(scope, node)
        if key.name not in found.workflow.tasks:
            raise Invalid(f"references.{node.reference}", str(key), "a task that is registered")
        return Scope(found.workflow, _key_of(key, found)), key.name

    def _find(self, scope: Scope, node: Node) -> tuple[ReferenceKey, Referenced]:
        key = ReferenceKey.of(scope.workflow.references[node.reference])
        if key not in self._registry:
            raise Invalid(f"references.{node.reference}", str(key), "what is registered")
        return key, self._registry[key]


def _key_of(key: ReferenceKey, found: Referenced) -> ReferenceKey:
    """Return the key of the workflow itself, so that all references to it have one template."""
    return key._replace(type="workflow", name=found.workflow.name, version=found.workflow.version)
