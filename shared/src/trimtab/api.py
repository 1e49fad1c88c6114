"""Bodies of ``/api/v2``: what admin answers and what clients send. Pure.

Errors are ``application/problem+json`` with `Problem`. Scopes are given as the query parameters
``domain``, ``project``, ``workflow``, ``launch_plan``.
"""

from typing import Any, Literal

from pydantic import AwareDatetime, Field, JsonValue

from trimtab.executions import NodePhase, Phase, Resolution
from trimtab.graph import DnsLabel, LaunchPlan, Model, Name, NodeOverrides, Workflow


class Problem(Model):
    """RFC 9457, with the field."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    path: str | None = None
    """Of the field that is wrong."""
    value: JsonValue = None
    allowed: str | None = None
    given_version: int | None = None
    stored_version: int | None = None


class ScopeBody(Model):
    level: str
    domain: str = ""
    project: str = ""
    workflow: str = ""
    launch_plan: str = ""


class RecordBody(Model):
    """One stored record."""

    kind: str
    scope: ScopeBody
    version: int
    """The revision that wrote it; the ETag."""
    document: dict[str, Any]


class SourceBody(Model):
    scope: str
    revision: int
    value: JsonValue


class LeafBody(Model):
    path: str
    value: JsonValue
    """``null`` where the record unset it."""
    scope: str
    revision: int
    overrode: tuple[SourceBody, ...] = ()


class EffectiveBody(Model):
    """What applies to a target; it has no version, so it cannot be written back by mistake."""

    kind: str
    target: ScopeBody
    document: dict[str, Any]
    leaves: tuple[LeafBody, ...]
    revision: int
    """Of the settings it was folded from."""


class KindBody(Model):
    name: str
    noun: str
    summary: str
    flyte_number: int | None
    levels: tuple[str, ...]
    json_schema: dict[str, Any]


class ProjectBody(Model):
    name: DnsLabel
    description: str = Field(default="", max_length=300)
    labels: dict[str, str] = {}
    state: Literal["active", "archived"] = "active"
    version: int | None = None
    """Answered, ignored when sent."""


class DomainBody(Model):
    name: DnsLabel
    version: int | None = None


class ClusterBody(Model):
    name: DnsLabel
    labels: tuple[str, ...] = ()
    weight: float = Field(default=1.0, ge=0)
    enabled: bool = True
    version: int | None = None


class PoolBody(Model):
    name: Name
    quota: int = Field(ge=1)
    project_cap: int | None = Field(default=None, ge=0)
    project_domain_cap: int | None = Field(default=None, ge=0)
    version: int | None = None


class WorkflowBody(Model):
    project: DnsLabel
    domain: DnsLabel
    workflow: Workflow


class LaunchPlanBody(Model):
    project: DnsLabel
    domain: DnsLabel
    launch_plan: LaunchPlan


class ExecutionCreate(Model):
    project: DnsLabel
    domain: DnsLabel
    workflow: Name
    version: str | None = None
    """Of the workflow; the newest where absent."""
    launch_plan: Name | None = None
    inputs: dict[str, JsonValue] = {}
    overrides: dict[str, NodeOverrides] = {}
    """By hook."""
    environment: dict[str, str] = {}


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
    """Answered for one execution, left out of lists."""
