"""Settings: scopes, kinds, records, effective values, documents, changes and history. Pure."""

from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, JsonValue, StringConstraints

from trimtab.kinds import forms
from trimtab.labels import Labels
from trimtab.levels import Scope
from trimtab.models import MAX_INTEGER, Integer, Model
from trimtab.texts import DATA

Part = Annotated[
    str, StringConstraints(max_length=200, pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.\-]*)?$")
]
"""A part of a scope; empty is unset."""


class ScopeBody(Model):
    level: str
    domain: str = ""
    project: str = ""
    workflow: str = ""
    launch_plan: str = ""

    @classmethod
    def of(cls, scope: Scope) -> Self:
        return cls(
            level=scope.level.label,
            domain=scope.domain,
            project=scope.project,
            workflow=scope.workflow,
            launch_plan=scope.launch_plan,
        )


class KindBody(Model):
    """Describes a kind to a console or command line that does not have it installed."""

    name: str
    noun: str
    aliases: tuple[str, ...] = ()
    """Other nouns of the kind."""
    summary: str
    flyte_number: int | None
    levels: tuple[str, ...]
    refused_levels: dict[str, str] = {}
    """Levels that users may expect but cannot set, with the reason."""
    form: tuple[forms.Field, ...] = ()
    """Fields in display order; those without a dot are the keys of an attribute file."""
    alternatives: tuple[str, ...] = ()
    """Fields that exclude each other in a record."""
    narrowing: tuple[str, ...] = ()
    """Fields that a record below the platform can only narrow; an empty list is a value of them."""
    deprecated: dict[str, str] = {}
    """Old paths that are still accepted, with their new names."""
    sample: dict[str, Any] = {}
    """A document to begin with."""
    json_schema: dict[str, Any]


class RecordBody(Model):
    """One stored record."""

    kind: str
    scope: ScopeBody
    version: int
    """The revision that wrote it; the ETag."""
    document: dict[str, Any]
    labels: dict[str, str] = {}
    """Labels of the record, by which `apply` with ``prune`` finds its owner."""
    warnings: tuple[str, ...] = ()
    """Warnings about the document and the scope; in a list, why the document cannot be read."""


class RollbackBody(Model):
    revision: Integer = Field(ge=1, le=MAX_INTEGER)
    """A version that the record had."""


class SourceBody(Model):
    scope: str
    revision: int
    value: JsonValue


class LeafBody(Model):
    path: str
    value: JsonValue
    """``null`` where the record unset the path."""
    scope: str
    revision: int
    overrode: tuple[SourceBody, ...] = ()
    """Values of broader scopes, nearest first."""


class EffectiveBody(Model):
    """The effective value of a kind for a target.

    It has no version, so it cannot be written back by mistake.
    """

    kind: str
    target: ScopeBody
    document: dict[str, Any]
    leaves: tuple[LeafBody, ...]
    revision: int
    """The revision of the settings that it was folded from."""
    warnings: tuple[str, ...] = ()
    """Warnings about the target."""


class EffectiveAllBody(Model):
    """The effective values of all kinds for a target."""

    target: ScopeBody
    kinds: dict[str, EffectiveBody]
    unreadable: dict[str, str] = {}
    """Kinds whose value cannot be computed, with the reason."""
    revision: int
    warnings: tuple[str, ...] = ()
    """Warnings about the target."""


class SetterBody(Model):
    """The actor that wrote a record, when and why; empty where the history has no row for it."""

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
    """``null`` where the narrowest scope that names the path unset it."""
    sources: tuple[ExplainedSourceBody, ...]
    """The scopes that set or unset the path, narrowest first. The first one is effective."""
    says: str
    """The sources as a sentence."""


class ExplainBody(Model):
    """An effective value with the chain that it was folded from, and who wrote each record."""

    kind: str
    target: ScopeBody
    document: dict[str, Any]
    chain: tuple[ExplainedRecordBody, ...]
    """Every scope that applies, broadest first."""
    leaves: tuple[ExplainedLeafBody, ...]
    as_flyte: EffectiveBody | None
    """The value by Flyte 1's rule; ``None`` where Flyte 1 has no such kind."""
    revision: int
    warnings: tuple[str, ...] = ()
    """Warnings about the target."""


class DocumentBody(Model):
    """The desired state of one record or entity."""

    kind: str
    """The kind of a record, or ``project``, ``domain``, ``cluster``, ``pool``, ``queue``."""
    name: str = ""
    """The name of an entity; empty for a record."""
    domain: Part = ""
    project: Part = ""
    workflow: Part = ""
    launch_plan: Part = ""
    document: Annotated[dict[str, Any], DATA]
    labels: Labels | None = None
    """Labels of the record; absent: they do not change."""
    version: Integer | None = Field(default=None, ge=0, le=MAX_INTEGER)
    """The version to replace; 0: nothing may be stored; absent: any version."""


MAX_DOCUMENTS = 20_000
"""How many documents one transaction may write."""


class ApplyBody(Model):
    """Documents that are written in one transaction."""

    documents: Annotated[tuple[DocumentBody, ...], DATA] = Field(max_length=MAX_DOCUMENTS)


class ExportBody(Model):
    """All documents of one revision; those of an `ApplyBody` where they are not too many.

    The header ``X-Trimtab-Revision`` has the revision, ``X-Trimtab-Documents`` their number. Each
    document is in a line of its own, between `EXPORT_HEAD` and `EXPORT_TAIL`, so that a client need
    not hold all of them at once.
    """

    documents: tuple[DocumentBody, ...]


EXPORT_HEAD = b'{"documents":['
EXPORT_TAIL = b"]}"


class ChangedLeafBody(Model):
    """A field before and after a change; ``null`` is no value."""

    path: str
    before: JsonValue = None
    after: JsonValue = None


class ChangeBody(Model):
    """The change of one record or entity."""

    kind: str
    """The kind of a record, or ``project``, ``domain``, ``cluster``, ``pool``, ``queue``."""
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
