"""The parts of an execution: the execution itself, and each call of a launch plan in it. Pure.

The nodes of a part are resolved from the settings of its own target. What the request of the
execution sets applies to every part; what its launch plan sets applies to its own nodes only.
Identity, cluster and queue are those of the execution in every part, because its pods are in one
namespace.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trimtab.levels import Scope
from trimtab.messages.executions import Request
from trimtab.workflows.graphs.launch_plans import ExecutionConfig


@dataclass(frozen=True)
class Part:
    """The execution itself, or the call of a launch plan in it."""

    name: str
    """Empty for the execution itself, otherwise the ids of the calls: ``n1/n0``."""
    project: str
    domain: str
    workflow: str
    launch_plan: str
    config: ExecutionConfig
    """The values that the launch plan sets."""
    parent: "Part | None" = None

    @property
    def target(self) -> Scope:
        # The default launch plan is the workflow itself, not a narrower level.
        plan = "" if self.launch_plan == self.workflow else self.launch_plan
        return Scope(self.domain, self.project, self.workflow, plan)

    @property
    def enclosing(self) -> Iterator["Part"]:
        """Yield the parts around it, the innermost first, and the execution itself last."""
        if self.parent is not None:
            yield self.parent
            yield from self.parent.enclosing


def whole(request: Request) -> Part:
    """Return the execution itself."""
    name, plan = request.workflow.name, request.launch_plan
    return Part("", request.project, request.domain, name, plan.name, plan)


def of(request: Request) -> Mapping[str, Part]:
    """Return the parts by name; each one comes after the one that it is in."""
    parts = {"": whole(request)}
    for key, call in request.workflow.plans.items():
        parts[key] = Part(
            key,
            call.project,
            call.domain,
            call.workflow,
            call.launch_plan,
            call.config,
            parts[call.parent],
        )
    return parts
