"""The parts of an execution: the execution itself, and each call of a launch plan in it. Pure.

The nodes of a part are resolved from the settings of its own target. What the request of the
execution sets applies to every part; what its launch plan sets applies to its own nodes only.
Identity, cluster and queue are those of the execution in every part, because its pods are in one
namespace. ``max_parallelism`` and the priority of a part are at most those of the parts around it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trimtab.levels import Scope
from trimtab.messages.executions import Request
from trimtab.workflows.graphs.launch_plans import ExecutionConfig, PlanCall, target


@dataclass(frozen=True, eq=False)
class Part:
    """The execution itself, or calls of a launch plan in it that have the same values."""

    project: str
    domain: str
    workflow: str
    launch_plan: str
    config: ExecutionConfig
    """The values that the launch plan sets."""
    parent: "Part | None" = None
    """The part that it is called in; ``None`` for the execution itself."""

    @property
    def target(self) -> Scope:
        return target(self.project, self.domain, self.workflow, self.launch_plan)

    @property
    def enclosing(self) -> Iterator["Part"]:
        """Yield the parts around it, the innermost first, and the execution itself last."""
        if self.parent is not None:
            yield self.parent
            yield from self.parent.enclosing


def whole(request: Request) -> Part:
    """Return the execution itself."""
    name, plan = request.workflow.name, request.launch_plan
    return Part(request.project, request.domain, name, plan.name, plan)


def of(request: Request) -> Mapping[str, Part]:
    """Return the parts by the ids of the calls, ``n1/n0``; under the empty name the execution.

    Each one comes after the one that it is in. Calls that have the same values are one part, so
    that they are resolved once.
    """
    parts = {"": whole(request)}
    known: dict[object, Part] = {}
    for key, call in request.workflow.plans.items():
        parent = parts[call.parent]
        same = call.target, call.config.model_dump_json(), id(parent)
        if same not in known:
            known[same] = _called(call, parent)
        parts[key] = known[same]
    return parts


def _called(call: PlanCall, parent: Part) -> Part:
    return Part(call.project, call.domain, call.workflow, call.launch_plan, call.config, parent)
