"""Define launch plans: named sets of inputs, overrides and configuration for executions."""

from collections.abc import Mapping
from dataclasses import dataclass

from trimtab.errors import Invalid
from trimtab.models import parse_model
from trimtab.workflows import graph
from trimtab.workflows.graph import ExecutionConfig
from trimtab.workflows.node_overrides import NodeOverrides
from trimtab.workflows.workflow_functions import WorkflowFunction


@dataclass(frozen=True)
class LaunchPlan:
    """A named set of inputs, overrides and configuration for executions of a workflow."""

    workflow: WorkflowFunction
    name: str
    inputs: Mapping[str, object]
    runtime_override: Mapping[str, NodeOverrides]
    config: ExecutionConfig

    @classmethod
    def get_or_create(
        cls,
        *,
        workflow: WorkflowFunction,
        name: str,
        inputs: Mapping[str, object] | None = None,
        runtime_override: Mapping[str, NodeOverrides] | None = None,
        environment: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        max_parallelism: int | None = None,
        interruptible: bool | None = None,
        overwrite_cache: bool | None = None,
    ) -> "LaunchPlan":
        """Return the launch plan of this name, which is created at the first call.

        Raises `Invalid` where one was created with other values.
        """
        config = {
            "environment": dict(environment or {}),
            "labels": dict(labels or {}),
            "annotations": dict(annotations or {}),
            "max_parallelism": max_parallelism,
            "interruptible": interruptible,
            "overwrite_cache": overwrite_cache,
        }
        execution_config = parse_model(ExecutionConfig, config)
        plan = cls(workflow, name, inputs or {}, runtime_override or {}, execution_config)
        if name == workflow.name:
            raise Invalid(
                "name", name, "a name other than the workflow's, which is the default launch plan"
            )
        plan.graph(workflow.graph("local", ""))
        if workflow.launch_plans.setdefault(name, plan) != plan:
            raise Invalid("name", name, "a name that no launch plan with other values has")
        return workflow.launch_plans[name]

    def graph(self, registered: graph.Workflow) -> graph.LaunchPlan:
        """Return the model to register.

        Raises `Invalid` on an input or a hook that the workflow does not have.
        """
        path = f"launch plan {self.name}"
        inputs = self.workflow.types.inputs_in_json(f"{path}: inputs", self.inputs)
        registered.check_inputs(f"{path}: inputs", inputs)
        registered.check_hooks(f"{path}: runtime_override", self.runtime_override)
        content = {
            "name": self.name,
            "workflow": registered.name,
            "version": registered.version,
            "inputs": inputs,
            "runtime_override": dict(self.runtime_override),
            **self.config.model_dump(),
        }
        return parse_model(graph.LaunchPlan, content)
