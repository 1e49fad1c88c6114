"""Workflows, launch plans, and executions of them. Pure."""

from operator import not_
from typing import Annotated

from pydantic import AwareDatetime, Field, JsonValue

from trimtab.messages.executions import NodePhase, Phase
from trimtab.messages.resolutions import Resolution
from trimtab.models import DnsLabel, Model, Name
from trimtab.texts import DATA
from trimtab.workflows.graphs.graph import Workflow
from trimtab.workflows.graphs.launch_plans import ExecutionConfig, LaunchPlan
from trimtab.workflows.graphs.node_overrides import NodeOverrides


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
    inputs: Annotated[dict[str, JsonValue], DATA] = {}
    overrides: dict[str, NodeOverrides] = {}
    """Overrides by hook."""


class NodeBody(Model, extra="ignore"):
    task: str
    phase: NodePhase
    attempt: int
    reason: str = ""
    output: JsonValue = None


class ExecutionBody(Model, extra="ignore"):
    id: str
    project: str
    domain: str
    workflow: str
    version: str
    launch_plan: str
    phase: Phase
    position: int | None = Field(default=None, exclude_if=lambda position: position is None)
    """The position among the executions of the project and domain that no propeller has claimed
    yet: 1 is next. Absent once the execution is claimed."""
    reason: str = Field(default="", exclude_if=not_)
    """Why no propeller claims it, where one has reported that; absent otherwise."""
    inputs: dict[str, JsonValue] = {}
    output: JsonValue = None
    error: str = ""
    created_at: AwareDatetime
    updated_at: AwareDatetime
    nodes: dict[str, NodeBody] = {}
    resolution: Resolution | None = None
    """Returned for a single execution; absent in lists."""
    resolution_problem: str = Field(default="", exclude_if=not_)
    """Why the resolution cannot be returned, though the execution was admitted; absent otherwise.
    """
    pod: dict[str, JsonValue] | None = Field(default=None, exclude_if=lambda pod: pod is None)
    """The manifest of the pod of a node's first attempt, in a dry run that names the node."""


class ExecutionChangeBody(Model, extra="ignore"):
    """The change that one event of an execution made."""

    index: int
    """The number of the event, from 0: a client resumes after it."""
    type: str
    """The event, such as ``node_running``."""
    at: AwareDatetime
    phase: Phase | None = None
    """The phase of the execution, if the event changed it."""
    error: str = ""
    node: str = ""
    """The node whose state changed; empty where none did."""
    state: NodeBody | None = None
    """The state of that node."""


class ExecutionEndBody(Model, extra="ignore"):
    """How an execution ended."""

    phase: Phase
    error: str = ""
