"""Bodies of ``/api/v2``: what admin answers and what clients send. Pure.

Errors are ``application/problem+json`` with `Problem`. Scopes are given as the query parameters
``domain``, ``project``, ``workflow``, ``launch_plan``.
"""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, JsonValue, StringConstraints

from trimtab.executions import NodePhase, Phase, Resolution
from trimtab.graph import (
    DnsLabel,
    ExecutionConfig,
    LaunchPlan,
    Model,
    Name,
    NodeOverrides,
    Workflow,
)
from trimtab.kinds import forms
from trimtab.labels import LabelKey, LabelValue

Part = Annotated[
    str, StringConstraints(max_length=200, pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.\-]*)?$")
]
"""Of a scope; empty is unset."""

Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=16)]
"""As many as Flyte takes, in the syntax of Kubernetes."""

PoolName = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=200, pattern=r"^(\*|[A-Za-z0-9_][A-Za-z0-9_.:\-]*)$"
    ),
]
"""``*`` is what holds of pools that nobody has declared; a colon parts a plugin from its pool."""


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
    labels: dict[str, str] = {}
    """Of the record itself: who owns it, for `apply` with ``prune``."""
    warnings: tuple[str, ...] = ()
    """What its writer should know; in a list, why there is no document that could be read."""


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


class EffectiveAllBody(Model):
    """What applies to a target, of every kind."""

    target: ScopeBody
    kinds: dict[str, EffectiveBody]
    unreadable: dict[str, str] = {}
    """By kind, why its value cannot be told."""
    revision: int


class SetterBody(Model):
    """Who wrote a record, when and why; empty where no history says it."""

    actor: str = ""
    at: AwareDatetime | None = None
    reason: str = ""


class ExplainedRecordBody(Model):
    """One scope of the chain."""

    scope: ScopeBody
    record: RecordBody | None
    """``None`` where nothing is stored."""
    setter: SetterBody | None


class ExplainedSourceBody(Model):
    scope: str
    revision: int
    value: JsonValue
    setter: SetterBody


class ExplainedLeafBody(Model):
    path: str
    value: JsonValue
    """``null`` where the narrowest scope that speaks of it unset it."""
    sources: tuple[ExplainedSourceBody, ...]
    """Who speaks of it, narrowest first: the first one decides."""
    says: str
    """The same as a sentence."""


class ExplainBody(Model):
    """Where each part of an effective value comes from."""

    kind: str
    target: ScopeBody
    document: dict[str, Any]
    chain: tuple[ExplainedRecordBody, ...]
    """Every scope that applies, broadest first."""
    leaves: tuple[ExplainedLeafBody, ...]
    as_flyte: EffectiveBody | None
    """By the rule of Flyte 1; ``None`` where it has no such kind."""
    revision: int


class ChangedLeafBody(Model):
    """``null`` is no value."""

    path: str
    before: JsonValue = None
    after: JsonValue = None


class ChangeBody(Model):
    """What a write does to one record, project, domain, cluster or pool."""

    kind: str
    """Of a record, or ``project``, ``domain``, ``cluster``, ``pool``."""
    scope: ScopeBody | None = None
    """Of a record."""
    name: str = ""
    """Of anything else."""
    index: int | None = None
    """Of the document that asks for it; ``None`` for what is pruned."""
    action: Literal["create", "update", "delete", "none"]
    version: int | None
    """What was stored before."""
    revision: int | None = None
    """What is stored now; ``None`` in a dry run."""
    changes: tuple[ChangedLeafBody, ...] = ()
    labels: tuple[ChangedLeafBody, ...] = ()
    warnings: tuple[str, ...] = ()


class EffectBody(Model):
    """How a target's effective value changes."""

    kind: str
    target: ScopeBody
    changes: tuple[ChangedLeafBody, ...]


class RadiusBody(Model):
    """Whose effective values change. The numbers are exact, the lists are cut."""

    domains: int = 0
    projects: int = 0
    project_domains: int = 0
    workflows: int = 0
    """That are registered, and so below."""
    launch_plans: int = 0
    namespaces: int = 0
    """That are rendered with other values."""
    effects: tuple[EffectBody, ...] = ()
    """Broadest first, at most 100."""
    rendered: tuple[str, ...] = ()
    """Names of namespaces, at most 100."""


class ChangesBody(Model):
    """What a write did; of a dry run, what it would do."""

    dry_run: bool
    revision: int
    """Of the settings: after the write, or those that the dry run was computed on."""
    changes: tuple[ChangeBody, ...]
    radius: RadiusBody | None = None
    """Of a dry run."""


class DocumentBody(Model):
    """One record, project, domain, cluster or pool, as it is to be."""

    kind: str
    """Of a record, or ``project``, ``domain``, ``cluster``, ``pool``."""
    name: str = ""
    """Of anything but a record."""
    domain: Part = ""
    project: Part = ""
    workflow: Part = ""
    launch_plan: Part = ""
    document: dict[str, Any]
    labels: Labels | None = None
    """Of the record; absent, they stay as they are."""
    version: int | None = Field(default=None, ge=0)
    """Which one is replaced, 0 where nothing is stored; absent, whatever is stored."""


class ApplyBody(Model):
    """Written together or not at all. ``GET /export`` answers one."""

    documents: tuple[DocumentBody, ...] = Field(max_length=20_000)


class RollbackBody(Model):
    revision: int
    """A version that the record had."""


class HistoryBody(Model):
    """One change."""

    revision: int
    commit: int
    """The last revision of the transaction."""
    at: AwareDatetime
    actor: str
    reason: str
    kind: str
    """As in `ChangeBody`; so too the next ones."""
    scope: ScopeBody | None
    name: str
    action: Literal["create", "update", "delete"]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    labels: dict[str, str] = {}
    """Of the record after the change."""
    request_id: str
    trace_id: str


class KindBody(Model):
    """Everything that a console or a command line needs of a kind that it does not know."""

    name: str
    noun: str
    aliases: tuple[str, ...] = ()
    """Other nouns."""
    summary: str
    flyte_number: int | None
    levels: tuple[str, ...]
    refused_levels: dict[str, str] = {}
    """Why a level that users may expect is refused."""
    form: tuple[forms.Field, ...] = ()
    """Fields in order; those without a dot are the keys of an attribute file."""
    alternatives: tuple[str, ...] = ()
    """Fields of which a record has one at most."""
    deprecated: dict[str, str] = {}
    """Paths that are still taken, and what they are called now."""
    json_schema: dict[str, Any]


class ProjectBody(Model):
    name: DnsLabel
    description: str = Field(default="", max_length=300)
    labels: Labels = {}
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
    name: PoolName
    quota: int = Field(ge=1)
    project_cap: int | None = Field(default=None, ge=0)
    project_domain_cap: int | None = Field(default=None, ge=0)
    cohort: DnsLabel = "default"
    """Pools of one cohort can be taken together."""
    active: bool = True
    """Whether anything is granted; what is held stays held."""
    max_weight: int | None = Field(default=None, ge=1)
    """Units that one token may be of."""
    version: int | None = None


class PoolTokenBody(Model):
    """Beside the id of a token."""

    pools: tuple[PoolName, ...] = Field(default=(), max_length=16)
    """All that it is of, where it is of several."""


class PoolPriorityBody(PoolTokenBody):
    """Of one that waits."""

    priority: int = Field(ge=-1000, le=1000)


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
    """Of the workflow; the newest where absent."""
    launch_plan: Name | None = None
    inputs: dict[str, JsonValue] = {}
    overrides: dict[str, NodeOverrides] = {}
    """By hook."""


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


TokenName = Annotated[
    str, StringConstraints(max_length=100, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.@-]*[A-Za-z0-9])?$")
]
"""Of a token; it is the actor in history, so an address of a person is a good one."""


class GrantBody(Model):
    """A role for all that lies at a scope and below it; no part of a scope is the platform."""

    role: Literal["viewer", "editor", "admin"]
    domain: str = Field(default="", max_length=200)
    project: str = Field(default="", max_length=200)
    workflow: str = Field(default="", max_length=200)
    launch_plan: str = Field(default="", max_length=200)
    kinds: tuple[str, ...] = Field(default=(), max_length=100)
    """Only records of these; empty is those of every kind, and all that is no record."""


class TokenCreate(Model):
    name: TokenName
    grants: tuple[GrantBody, ...] = Field(min_length=1, max_length=100)
    expires_at: AwareDatetime | None = None
    """``None`` is never."""


class TokenRotate(Model):
    grace_seconds: int = Field(default=3600, ge=0, le=7 * 24 * 3600)
    """How long the secret before it is taken beside the new one."""
    expires_at: AwareDatetime | None = None
    """Absent, it stays as it is."""


class TokenBody(Model):
    """A token, without its secret, which nobody keeps."""

    id: str
    """How the token begins, after ``trimtab_``."""
    name: str
    grants: tuple[GrantBody, ...]
    created_at: AwareDatetime
    created_by: str
    expires_at: AwareDatetime | None = None
    rotated_at: AwareDatetime | None = None
    old_secret_until: AwareDatetime | None = None
    """Of the secret before the last rotation."""
    revoked_at: AwareDatetime | None = None
    last_used_at: AwareDatetime | None = None
    """To within some seconds."""


class NewTokenBody(TokenBody):
    secret: str
    """What ``Authorization: Bearer`` takes. It is told once."""


class AuditBody(Model):
    """A call that was refused, that changed an API token, or that took a token of a pool away."""

    id: int
    at: AwareDatetime
    status: int
    """Of the answer: 401 is nobody known, 403 somebody who may not, 429 one of too many."""
    client: str
    """The address that the call came from."""
    caller: str = ""
    """The name of the token; empty where it was none that is known."""
    token: str = ""
    """The id of the token, or what was brought as one."""
    method: str
    path: str
    scope: str = ""
    reason: str
    request_id: str


class DeadLetterBody(Model):
    """A message that its consumer gave up."""

    sequence: int
    """By which it is read and replayed."""
    stream: str
    consumer: str
    subject: str
    """Where it was."""
    reason: str
    event_id: str = ""
    event_type: str = ""
    at: AwareDatetime
    """When it was given up."""
    body: str | None = None
    """As it came; left out of lists."""


class ReplayedBody(Model):
    """Where a dead letter is now."""

    stream: str
    subject: str
    sequence: int


class ResyncBody(Model):
    """What is said again."""

    revision: int
    """A view that has reached it holds all that lives."""
    settings: int
    """How many subjects, with those that are told to be gone."""
    executions: int
    """How many have not ended and are requested again."""
