"""Define launch plans: named sets of inputs, overrides and configuration for executions. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict, Unpack

from trimtab import texts
from trimtab.errors import Invalid
from trimtab.models import parse_model
from trimtab.workflows.definitions.closures import check_hook, check_task_configs
from trimtab.workflows.definitions.containers import variables
from trimtab.workflows.definitions.overrides import RuntimeOverride, check_arguments, overrides_of
from trimtab.workflows.definitions.workflow_functions import WorkflowFunction
from trimtab.workflows.graphs import graph, launch_plans
from trimtab.workflows.graphs.launch_plans import ExecutionConfig
from trimtab.workflows.graphs.node_overrides import NodeOverrides


class LaunchPlanArguments(TypedDict, total=False):
    """Values of a launch plan. ``None`` sets nothing."""

    inputs: Mapping[str, object] | None
    runtime_override: Mapping[str, RuntimeOverride] | None
    """Overrides by name of hook, or by ``path/name``."""
    environment: Mapping[str, str] | None
    labels: Mapping[str, str] | None
    annotations: Mapping[str, str] | None
    max_parallelism: int | None
    interruptible: bool | None
    overwrite_cache: bool | None
    execution_cluster_label: str | None
    """The label of the clusters that executions may run on, instead of that of the settings."""


@dataclass(frozen=True)
class LaunchPlan:
    """A named set of inputs, overrides and configuration for executions of a workflow."""

    workflow: WorkflowFunction
    name: str
    inputs: Mapping[str, object] = field(default_factory=dict)
    runtime_override: Mapping[str, NodeOverrides] = field(default_factory=dict)
    config: ExecutionConfig = field(default_factory=ExecutionConfig)

    @classmethod
    def get_or_create(
        cls,
        *,
        workflow: WorkflowFunction,
        name: str | None = None,
        **arguments: Unpack[LaunchPlanArguments],
    ) -> "LaunchPlan":
        """Return the launch plan of this name, which is created at the first call.

        Without a name it is the default one, which has no values. Raises `Invalid`, also where the
        launch plan exists with other values.
        """
        if not isinstance(workflow, WorkflowFunction):
            raise Invalid("workflow", workflow, "a function with @workflow")
        check_arguments(arguments, LaunchPlanArguments.__annotations__)
        given = {each: value for each, value in arguments.items() if value is not None}
        if name is None:
            return cls._default(workflow, given)
        if name == workflow.name:
            allowed = "a name other than the workflow's, which is that of the default launch plan"
            raise Invalid("name", name, allowed)
        plan = _create(workflow, name, given)
        existing = workflow.launch_plans.setdefault(name, plan)
        if existing is not plan:
            existing._check_same(plan)
        return existing

    @classmethod
    def _default(cls, workflow: WorkflowFunction, given: Mapping[str, object]) -> "LaunchPlan":
        for name, value in given.items():
            allowed = "no value without a name: the default launch plan has none; give it a name"
            raise Invalid(name, value, allowed)
        return cls(workflow, workflow.name)

    def graph(self, registered: graph.Workflow) -> launch_plans.LaunchPlan:
        """Return the model to register.

        Raises `Invalid` on an input or a hook that the workflow does not have.
        """
        path = f"launch plan {self.name}"
        inputs = self.workflow.types.inputs_in_json(f"{path}: inputs", self.inputs)
        registered.check_inputs(f"{path}: inputs", inputs)
        for hook, override in self.runtime_override.items():
            at = f"{path}: runtime_override.{hook}"
            check_hook(at, self.workflow, hook)
            check_task_configs(at, self.workflow, override, hook)
        content = {
            "name": self.name,
            "workflow": registered.name,
            "version": registered.version,
            "inputs": inputs,
            "runtime_override": dict(self.runtime_override),
            **self.config.model_dump(),
        }
        return parse_model(launch_plans.LaunchPlan, content)

    def _check_same(self, other: "LaunchPlan") -> None:
        """Raise `Invalid` with the first argument of which the other one has another value."""
        registered = self.workflow.graph("local", "")
        own, others = self.graph(registered), other.graph(registered)
        for name in LaunchPlanArguments.__annotations__:
            existing, value = getattr(own, name), getattr(others, name)
            if existing != value:
                allowed = (
                    f"{name} of the launch plan {self.name!r}, which exists with other values; "
                    "or another name"
                )
                raise Invalid(name, value, allowed)


def _create(workflow: WorkflowFunction, name: str, given: Mapping[str, object]) -> LaunchPlan:
    """Return a launch plan whose values are checked. Raises `Invalid`."""
    maps = {each: _map(each, given.get(each, {})) for each in ("inputs", "runtime_override")}
    overrides = {
        hook: overrides_of(f"runtime_override.{hook}", each)
        for hook, each in maps["runtime_override"].items()
    }
    config = {each: value for each, value in given.items() if each not in maps}
    if "environment" in config:
        config["environment"] = variables("environment", config["environment"])
    parsed = parse_model(ExecutionConfig, config)
    texts.check(parsed)
    plan = LaunchPlan(workflow, name, maps["inputs"], overrides, parsed)
    plan.graph(workflow.graph("local", ""))
    return plan


def _map(name: str, given: object) -> dict[str, object]:
    if not isinstance(given, Mapping):
        raise Invalid(name, given, "a dict by name")
    return dict(given)
