"""Launch plans, and their calls in an expanded workflow. Pure."""

from collections.abc import Mapping
from functools import cached_property
from operator import not_
from typing import Annotated

from pydantic import Field, JsonValue

from trimtab.errors import Invalid
from trimtab.labels import LabelKey, LabelValue
from trimtab.levels import Scope
from trimtab.models import DnsLabel, Integer, Model, Name, Switch
from trimtab.texts import DATA, MULTILINE
from trimtab.workflows.graphs.node_overrides import NodeOverrides

MAX_DEPTH = 32
"""The most sub-workflows, or calls of launch plans, inside each other."""
MAX_PARTS = 500
"""The most calls of launch plans with different values: each takes a millisecond to resolve, in
which a propeller does nothing else."""

ClusterLabel = Annotated[str, Field(min_length=1, max_length=63)]
"""A label of clusters, as `execution_cluster_label` has it."""


def _is_absent(value: object) -> bool:
    return value is None


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
    execution_cluster_label: ClusterLabel | None = Field(default=None, exclude_if=_is_absent)
    """The label of the clusters that the execution may run on, instead of the one that the settings
    name; ``pod_policy.cluster_labels`` has to allow it."""

    @cached_property
    def of_every_node(self) -> NodeOverrides:
        """The values of each node among them, always the same object."""
        return NodeOverrides(environment=self.environment, interruptible=self.interruptible)


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


_NO_CONFIG = ExecutionConfig()


def _sets_nothing(config: ExecutionConfig) -> bool:
    return config == _NO_CONFIG


class PlanCall(Model):
    """A call of a registered launch plan in an expanded workflow.

    Its nodes are resolved from the settings of the launch plan's own project, domain and workflow.
    """

    project: DnsLabel
    domain: DnsLabel
    workflow: Name
    launch_plan: Name
    config: ExecutionConfig = Field(default=_NO_CONFIG, exclude_if=_sets_nothing)
    """The values that the launch plan sets for its executions."""
    parent: str = Field(default="", exclude_if=not_)
    """The call that it is in, by its key in `Workflow.plans`; empty for none."""

    @property
    def target(self) -> Scope:
        return target(self.project, self.domain, self.workflow, self.launch_plan)


def target(project: str, domain: str, workflow: str, launch_plan: str) -> Scope:
    """Return the target whose settings apply to what a launch plan runs."""
    # The default launch plan is the workflow itself, not a narrower level.
    narrow = "" if launch_plan == workflow else launch_plan
    return Scope(domain, project, workflow, narrow)


def parts(plans: Mapping[str, PlanCall]) -> Mapping[str, int]:
    """Return a number for each call; those that have equal values have the same one."""
    known: dict[object, int] = {}
    found: dict[str, int] = {}
    for name, call in plans.items():
        same = call.target, call.config.model_dump_json(), found.get(call.parent)
        found[name] = known.setdefault(same, len(known))
    return found


def check_calls(plans: Mapping[str, PlanCall]) -> None:
    """Raise `Invalid` for calls that no execution can have."""
    depths = {"": 0}
    for name, call in plans.items():
        if not name:
            raise Invalid("plans", name, "a name that is not empty, which is the execution itself")
        if call.parent not in depths:
            raise Invalid(f"plans.{name}.parent", call.parent, "a call that comes before it")
        depths[name] = depths[call.parent] + 1
        if depths[name] > MAX_DEPTH:
            allowed = f"at most {MAX_DEPTH} calls of launch plans inside each other"
            raise Invalid(f"plans.{name}", f"{depths[name]} calls", allowed)
    number = len(set(parts(plans).values()))
    if number > MAX_PARTS:
        allowed = f"at most {MAX_PARTS}; calls with the same values in the same call count once"
        raise Invalid("plans", f"{number} different calls of launch plans", allowed)
