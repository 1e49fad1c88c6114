"""Workflows, launch plans, and executions of them. Pure."""

from pydantic import AwareDatetime, JsonValue

from trimtab.messages.executions import NodePhase, Phase, Resolution
from trimtab.models import DnsLabel, Model, Name
from trimtab.workflows.graph import ExecutionConfig, LaunchPlan, NodeOverrides, Workflow


class WorkflowBody(Model):
    project: DnsLabel
    domain: DnsLabel
    workflow: Workflow


class LaunchPlanBody(Model):
    project: DnsLabel
    domain: DnsLabel
    launch_plan: LaunchPlan


class ExecutionCreate(ExecutionConfig):
    project: DnsLabel
    domain: DnsLabel
    workflow: Name
    version: str | None = None
    """The version of the workflow; absent: the newest."""
    launch_plan: Name | None = None
    inputs: dict[str, JsonValue] = {}
    overrides: dict[str, NodeOverrides] = {}
    """Overrides by hook."""


class NodeBody(Model):
    task: str
    phase: NodePhase
    attempt: int
    reason: str = ""
    output: JsonValue = None


class ExecutionBody(Model):
    id: str
    project: str
    domain: str
    workflow: str
    version: str
    launch_plan: str
    phase: Phase
    inputs: dict[str, JsonValue] = {}
    output: JsonValue = None
    error: str = ""
    created_at: AwareDatetime
    updated_at: AwareDatetime
    nodes: dict[str, NodeBody] = {}
    resolution: Resolution | None = None
    """Returned for a single execution; absent in lists."""
