"""Requests to write settings, checked as far as this is possible without the settings. Pure.

A write may be tried several times on newer and newer settings. What a request parses is therefore
a cached property: it is parsed once, when a try first needs it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from trimtab import kinds, texts
from trimtab.api.settings import DocumentBody
from trimtab.errors import Invalid
from trimtab.kinds import Kind
from trimtab.labels import Labels
from trimtab.levels import Scope
from trimtab.messages.events import PruneChanged
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin.settings.entities import ENTITY_TYPES, EntityBody, EntityType
from trimtab_admin.settings.preconditions import Absent, AnyVersion, Precondition, Version

_LABELS: TypeAdapter[dict[str, str]] = TypeAdapter(Labels)


@dataclass(frozen=True)
class PutRecord:
    """Create a record, or replace its document; an existing record keeps its labels."""

    kind: Kind
    scope: Scope
    document: Mapping[str, Any]
    precondition: Precondition
    initial_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of the record where it is created."""

    @cached_property
    def record(self) -> Record:
        """The record of the document, without labels. Raises `Invalid`."""
        return Record.of(self.kind, self.scope, 0, self.document)


@dataclass(frozen=True)
class PatchRecord:
    """Change fields of a record by JSON merge patch."""

    kind: Kind
    scope: Scope
    patch: Mapping[str, Any]
    precondition: Precondition


@dataclass(frozen=True)
class DeleteRecord:
    """Delete exactly this record; deleting an absent one succeeds."""

    kind: Kind
    scope: Scope
    precondition: Precondition


@dataclass(frozen=True)
class RollBackRecord:
    """Give a record the document of one of its versions, or delete it where that one was absent."""

    kind: Kind
    scope: Scope
    revision: int
    precondition: Precondition


@dataclass(frozen=True)
class CreateEntity:
    """Create an entity whose name is not in use."""

    type: EntityType[Any, Any]
    body: EntityBody


@dataclass(frozen=True)
class PutEntity:
    """Create or replace an entity."""

    type: EntityType[Any, Any]
    body: EntityBody
    precondition: Precondition


@dataclass(frozen=True)
class PatchEntity:
    """Change fields of an entity by JSON merge patch."""

    type: EntityType[Any, Any]
    name: str
    patch: Mapping[str, Any]
    precondition: Precondition


@dataclass(frozen=True)
class DeleteEntity:
    """Delete an entity; deleting an absent one succeeds."""

    type: EntityType[Any, Any]
    name: str
    precondition: Precondition


@dataclass(frozen=True)
class DerivedWrites:
    """Writes that follow from what is stored, such as the merge of a message into a record."""

    derive: Callable[[Settings], Sequence[PutRecord | DeleteRecord | CreateEntity | PutEntity]]
    """Returns the writes. It is called once for each try, with the newest settings, and raises
    what a write would."""


@dataclass(frozen=True)
class ConfirmPrune:
    """Confirm that clusterres deletes the objects of one list, in place of an earlier list."""

    confirmation: PruneChanged


class Label(NamedTuple):
    """A label with its value."""

    key: str
    value: str

    @classmethod
    def parse(cls, text: str) -> "Label":
        """Parse ``owner=team-a``. Raises `Invalid`."""
        key, equals, value = text.partition("=")
        try:
            _LABELS.validate_python({key: value})
        except ValidationError as error:
            raise Invalid("prune", text, "a label, such as owner=team-a") from error
        if not equals or not value:
            raise Invalid("prune", text, "a label with its value, such as owner=team-a")
        return cls(key, value)


@dataclass(frozen=True)
class Document:
    """One document of `ApplyDocuments`."""

    index: int
    """Its position in the request, counted from 0."""
    body: DocumentBody

    @property
    def is_entity(self) -> bool:
        return self.body.kind in ENTITY_TYPES

    @cached_property
    def scope(self) -> Scope:
        """Raises `Invalid` where the parts name no level."""
        body = self.body
        return Scope(body.domain, body.project, body.workflow, body.launch_plan)

    @cached_property
    def request(self) -> PutRecord | PutEntity:
        """The write of this document alone.

        Raises `Invalid` and, on an unknown kind, `NotFound`. The fields of a record's document are
        checked by `PutRecord.record`.
        """
        body = self.body
        if self.is_entity:
            return self._put_entity()
        if body.name:
            raise Invalid("name", body.name, "no name: a record is identified by its scope")
        return PutRecord(kinds.by_name(body.kind), self.scope, body.document, self._precondition)

    def _put_entity(self) -> PutEntity:
        body, scope, type = self.body, self.scope, ENTITY_TYPES[self.body.kind]
        for name in ("domain", "project", "workflow", "launch_plan"):
            if value := getattr(scope, name):
                raise Invalid(name, value, f"no scope: a {body.kind} has only a name")
        if body.labels is not None:
            raise Invalid("labels", body.labels, "no labels: an entity has them in its document")
        try:
            entity = type.parse(body.name, body.document)
            texts.check(entity)
        except Invalid as error:
            path = error.path if error.path == "name" else f"document.{error.path}"
            raise Invalid(path, error.value, error.allowed) from error
        return PutEntity(type, entity, self._precondition)

    @property
    def _precondition(self) -> Precondition:
        version = self.body.version
        if version is None:
            return AnyVersion()
        return Version(version) if version else Absent()


@dataclass(frozen=True)
class ApplyDocuments:
    """Write documents in one transaction, and prune the other records that have a label."""

    bodies: tuple[DocumentBody, ...]
    prune: str = ""
    """The label, such as ``owner=team-a``, which every record gets; empty: nothing is pruned."""
    allow_empty: bool = False
    """Whether everything that has the label may be pruned."""

    def check_not_empty(self) -> None:
        """Raise `Invalid` where no document is a record, so that all of the label is pruned."""
        if self.prune and not self.allow_empty and all(one.is_entity for one in self.documents):
            raise Invalid(
                "prune",
                self.prune,
                "only with at least one record, because all others of the label are deleted; "
                "allow_empty=true deletes all of them",
            )

    @cached_property
    def documents(self) -> tuple[Document, ...]:
        return tuple(Document(index, body) for index, body in enumerate(self.bodies))

    @cached_property
    def label(self) -> Label | None:
        """Raises `Invalid`."""
        return Label.parse(self.prune) if self.prune else None


PreparedRequest = (
    PutRecord
    | PatchRecord
    | DeleteRecord
    | CreateEntity
    | PutEntity
    | PatchEntity
    | DeleteEntity
    | DerivedWrites
    | ConfirmPrune
    | ApplyDocuments
)
"""A request that becomes a draft with nothing but the settings."""
WriteRequest = PreparedRequest | RollBackRecord
