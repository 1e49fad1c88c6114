"""Settings together: documents, what a write changes and for whom, and history. Pure."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field, JsonValue

from trimtab.api.scopes import Part, ScopeBody
from trimtab.labels import Labels
from trimtab.models import Model


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
