"""Documents that are applied together, the changes and effects of a write, and history. Pure."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field, JsonValue

from trimtab.api.scopes import Part, ScopeBody
from trimtab.labels import Labels
from trimtab.models import Model


class DocumentBody(Model):
    """The desired state of one record or entity."""

    kind: str
    """The kind of a record, or ``project``, ``domain``, ``cluster``, ``pool``."""
    name: str = ""
    """The name of an entity; empty for a record."""
    domain: Part = ""
    project: Part = ""
    workflow: Part = ""
    launch_plan: Part = ""
    document: dict[str, Any]
    labels: Labels | None = None
    """Labels of the record; absent: they do not change."""
    version: int | None = Field(default=None, ge=0)
    """The version to replace; 0: nothing may be stored; absent: any version."""


class ApplyBody(Model):
    """Documents that are written in one transaction. ``GET /export`` returns one."""

    documents: tuple[DocumentBody, ...] = Field(max_length=20_000)


class ChangedLeafBody(Model):
    """A field before and after a change; ``null`` is no value."""

    path: str
    before: JsonValue = None
    after: JsonValue = None


class ChangeBody(Model):
    """The change of one record or entity."""

    kind: str
    """The kind of a record, or ``project``, ``domain``, ``cluster``, ``pool``."""
    scope: ScopeBody | None = None
    """The scope of a record."""
    name: str = ""
    """The name of an entity."""
    index: int | None = None
    """The index of the document that causes the change; ``None`` for a pruned record."""
    action: Literal["create", "update", "delete", "none"]
    version: int | None
    """The version before the change."""
    revision: int | None = None
    """The version after the change; ``None`` in a dry run."""
    changes: tuple[ChangedLeafBody, ...] = ()
    labels: tuple[ChangedLeafBody, ...] = ()
    warnings: tuple[str, ...] = ()


class EffectBody(Model):
    """The change of a target's effective value."""

    kind: str
    target: ScopeBody
    changes: tuple[ChangedLeafBody, ...]


class RadiusBody(Model):
    """The blast radius of a draft: numbers of targets, which are exact, and shortened lists."""

    domains: int = 0
    projects: int = 0
    project_domains: int = 0
    workflows: int = 0
    """Registered workflows; launch plans likewise."""
    launch_plans: int = 0
    namespaces: int = 0
    """Namespaces that are rendered with other values."""
    effects: tuple[EffectBody, ...] = ()
    """Broadest first, at most 100."""
    rendered: tuple[str, ...] = ()
    """Names of namespaces, at most 100."""


class ChangesBody(Model):
    """The changes of a write, or those that a dry run predicts."""

    dry_run: bool
    revision: int
    """The revision after the write, or the one that the dry run was computed on."""
    changes: tuple[ChangeBody, ...]
    radius: RadiusBody | None = None
    """Present in a dry run."""


class HistoryBody(Model):
    """A committed change."""

    revision: int
    commit: int
    """The last revision of the transaction."""
    at: AwareDatetime
    actor: str
    reason: str
    kind: str
    """The kind; this and the next fields are those of `ChangeBody`."""
    scope: ScopeBody | None
    name: str
    action: Literal["create", "update", "delete"]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    labels: dict[str, str] = {}
    """Labels of the record after the change."""
    request_id: str
    trace_id: str
