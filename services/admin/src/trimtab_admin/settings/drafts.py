"""Drafts: changes that are judged together before any of them is stored. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from trimtab import kinds, texts
from trimtab.api.settings import ChangeBody, ChangedLeafBody, RecordBody
from trimtab.errors import Conflict, Invalid, NotFound, Unreadable
from trimtab.kinds import Kind
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import Event, ProjectChanged, RecordChanged
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin import steps
from trimtab_admin.settings import bodies, patches, preconditions
from trimtab_admin.settings.comparison import Comparison, Groups, Violation, first_violation
from trimtab_admin.settings.entities import (
    DOMAINS,
    NOT_IN_DOCUMENTS,
    PROJECTS,
    PRUNES,
    Entity,
    EntityType,
    check_active,
)
from trimtab_admin.settings.preconditions import Absent, Precondition
from trimtab_admin.settings.requests import (
    ConfirmPrune,
    CreateEntity,
    DeleteEntity,
    DeleteRecord,
    PatchEntity,
    PatchRecord,
    PutEntity,
    PutRecord,
)
from trimtab_admin.steps import Steps

Action = Literal["create", "update", "delete", "none"]


@dataclass(frozen=True)
class RecordEdit:
    """The change of one record."""

    kind: Kind
    scope: Scope
    version: int | None
    """The stored version, also where the stored record is not readable."""
    before: Record | None
    """``None`` where no record is stored, or one that is not readable."""
    after: Record | None
    index: int | None = None
    """Position of the document that requests the change."""
    warnings: tuple[str, ...] = ()

    @cached_property
    def subject(self) -> str:
        return subjects.attributes(self.kind.name, self.scope)

    @cached_property
    def action(self) -> Action:
        if self.after is None:
            return "none" if self.version is None else "delete"
        if self.version is None:
            return "create"
        if self.before is None:
            return "update"
        before, after = self.before, self.after
        # The same as equal documents, which would have to be made.
        same = before.flat == after.flat and before.unset == after.unset
        return "none" if same and before.labels == after.labels else "update"

    @property
    def record(self) -> Record | None:
        """The document of the event, parsed; ``None`` where the record is deleted."""
        return self.after

    def event(self) -> Event:
        after = self.after
        document, labels = (after.document, after.labels) if after else (None, None)
        return RecordChanged.at(self.scope, self.kind.name, document, labels)

    def body(self, revision: int | None) -> ChangeBody:
        """Return the change as a response shows it; ``revision`` is the new version."""
        before, after = self.before, self.after
        return ChangeBody(
            kind=self.kind.name,
            scope=bodies.scope_body(self.scope),
            index=self.index,
            action=self.action,
            version=self.version,
            revision=revision,
            changes=leaf_changes(_leaves(before), _leaves(after)),
            labels=leaf_changes(before.labels if before else {}, after.labels if after else {}),
            warnings=self.warnings,
        )

    def record_body(self, revision: int) -> RecordBody:
        """Return the record after the change; ``revision`` is its version."""
        after = self.after
        return RecordBody(
            kind=self.kind.name,
            scope=bodies.scope_body(self.scope),
            version=revision,
            document=after.document if after else {},
            labels=dict(after.labels) if after else {},
            warnings=self.warnings,
        )


@dataclass(frozen=True)
class EntityEdit:
    """The change of one entity."""

    type: EntityType[Any, Any]
    version: int | None
    before: Entity | None
    after: Entity
    """The entity after the change; one that is deleted is marked so."""
    index: int | None = None
    """Position of the document that requests the change."""
    warnings: tuple[str, ...] = ()

    @cached_property
    def subject(self) -> str:
        return self.type.subject(self.after.name)

    @cached_property
    def action(self) -> Action:
        if self.after.deleted:
            return "delete"
        if self.before is None:
            return "create"
        return "none" if self.before == self.after else "update"

    @property
    def record(self) -> None:
        """An entity has no document that is parsed."""
        return None

    def event(self) -> Event:
        return self.after

    def body(self, revision: int | None) -> ChangeBody:
        """Return the change as a response shows it; ``revision`` is the new version."""
        before = {} if self.before is None else self.type.to_document(self.before)
        after = {} if self.after.deleted else self.type.to_document(self.after)
        return ChangeBody(
            kind=self.type.name,
            name=self.after.name,
            index=self.index,
            action=self.action,
            version=self.version,
            revision=revision,
            changes=leaf_changes(before, after),
            warnings=self.warnings,
        )


@dataclass
class Draft:
    """Edits of the settings, made in any order, except that a project precedes its records."""

    settings: Settings
    """The stored settings."""
    records: dict[tuple[str, Scope], RecordEdit] = field(default_factory=dict)
    """Edits of records by kind and scope."""
    entities: dict[str, EntityEdit] = field(default_factory=dict)
    """Edits of entities by subject."""

    @property
    def edits(self) -> Iterator[RecordEdit | EntityEdit]:
        """All edits; those of entities come first, because records refer to them."""
        yield from self.entities.values()
        yield from self.records.values()

    def put(
        self,
        request: PutRecord,
        *,
        labels: Mapping[str, str] | None = None,
        index: int | None = None,
    ) -> None:
        """Create or replace a record; without labels it keeps those that it has.

        Raises `NotFound`, `Stale` and `Invalid`.
        """
        kind, scope = request.kind, request.scope
        version = self._check_version(kind, scope, request.precondition)
        before = self.settings.records.get(kind.name, {}).get(scope)
        if labels is None:
            labels = before.labels if before else request.initial_labels
        after = replace(request.record, labels=dict(labels))
        warnings = kind.warnings(request.document)
        self._add(RecordEdit(kind, scope, version, before, after, index, warnings))

    def patch(self, request: PatchRecord) -> None:
        """Raises the errors of `put`, and `Unreadable` where the stored record is not readable."""
        kind, scope = request.kind, request.scope
        before = readable_record(self.settings, kind, scope)
        patch = kind.rename_deprecated(request.patch)
        patches.check_removals(kind.value, patch)
        document = patches.merge(before.document if before else {}, patch, kind.schema)
        self.put(PutRecord(kind, scope, document, request.precondition))
        edit = self.records[kind.name, scope]
        self.records[kind.name, scope] = replace(edit, warnings=kind.warnings(request.patch))

    def delete(self, request: DeleteRecord) -> None:
        """Raises the errors of `put`; there is no version to check where no record is stored."""
        kind, scope = request.kind, request.scope
        version = self._version(kind, scope)
        if version is not None:
            self._check_version(kind, scope, request.precondition)
        before = self.settings.records.get(kind.name, {}).get(scope)
        self._add(RecordEdit(kind, scope, version, before, None))

    def create_entity(self, request: CreateEntity) -> None:
        """Raise `Conflict` where the name is in use."""
        type, name = request.type, request.body.name
        if name in type.stored(self.settings):
            raise Conflict(f"{type.name} {name!r} already exists")
        self.put_entity(PutEntity(type, request.body, Absent()))

    def put_entity(self, request: PutEntity, *, index: int | None = None) -> None:
        """Create or replace an entity. Raises `Stale` and `Invalid`."""
        type, body = request.type, request.body
        subject = type.subject(body.name)
        version = self.settings.digest.revision_of(subject)
        preconditions.check(request.precondition, f"{type.name} {body.name}", version)
        if subject in self.entities:
            raise Invalid("name", body.name, f"one document for each {type.name}")
        before = type.stored(self.settings).get(body.name)
        after = type.to_event(type.with_omitted_fields(body, before))
        self.entities[subject] = EntityEdit(type, version, before, after, index)

    def patch_entity(self, request: PatchEntity) -> None:
        """Raises `NotFound`, `Stale` and `Invalid`."""
        type, name = request.type, request.name
        document = type.to_document(type.find(self.settings, name))
        patches.check_removals(type.body, request.patch, NOT_IN_DOCUMENTS)
        body = type.parse(name, patches.merge(document, request.patch))
        texts.check(body)
        self.put_entity(PutEntity(type, body, request.precondition))

    def delete_entity(self, request: DeleteEntity) -> None:
        """Raise `Stale`; there is no version to check where the entity does not exist."""
        type, name = request.type, request.name
        before = type.stored(self.settings).get(name)
        if before is None:
            return
        subject = type.subject(name)
        version = self.settings.digest.revision_of(subject)
        preconditions.check(request.precondition, f"{type.name} {name}", version)
        after = before.model_copy(update={"deleted": True})
        self.entities[subject] = EntityEdit(type, version, before, after)

    def confirm_prune(self, request: ConfirmPrune) -> None:
        after = request.confirmation
        subject = PRUNES.subject(after.name)
        version = self.settings.digest.revision_of(subject)
        before = self.settings.prunes.get(after.name)
        self.entities[subject] = EntityEdit(PRUNES, version, before, after)

    def check(self) -> Steps[None]:
        """Raise an error, which names the document, where the edits cannot be stored together.

        Raises `Conflict` where something changes in an archived project, and `Invalid` where an
        effective value would be wrong.
        """
        yield from steps.each(self._check_active, self.records.values())
        for comparison in (yield from self.comparisons()):
            violation = yield from first_violation(comparison)
            if violation is not None:
                raise violation.error(_prefix(self._index_of_cause(comparison, violation)))

    def comparisons(self) -> Steps[list[Comparison]]:
        """Return a comparison for each kind of which a record changes."""
        edits: dict[str, dict[Scope, Record | None]] = {}

        def sort(edit: RecordEdit) -> None:
            if edit.action != "none":
                edits.setdefault(edit.kind.name, {})[edit.scope] = edit.after

        yield from steps.each(sort, self.records.values())
        settings = self.settings
        return [
            Comparison(
                kinds.by_name(name),
                settings.records.get(name, {}),
                changed,
                Groups(
                    settings.by_project_domain.get(name, {}), settings.launch_plans.get(name, {})
                ),
            )
            for name, changed in edits.items()
        ]

    def entities_after(self, type: EntityType[Any, Any]) -> Mapping[str, Entity]:
        """Return the entities of a type after the edits, by name."""
        edits = [edit.after for edit in self.entities.values() if edit.type is type]
        after = {**type.stored(self.settings), **{entity.name: entity for entity in edits}}
        return {name: entity for name, entity in after.items() if not entity.deleted}

    def _index_of_cause(self, comparison: Comparison, violation: Violation) -> int | None:
        """Return the index of the document that causes a violation.

        It is the document that sets the value or its bound. Where neither is edited, it is one that
        unsets them: the first whose scope applies to the target.
        """
        edits = {edit.scope: edit for edit in self.records.values() if edit.kind is comparison.kind}
        for scope in violation.scopes:
            if scope in comparison.edits:
                return edits[scope].index
        target = violation.effective.target
        return next((edits[at].index for at in comparison.edits if at.covers(target)), None)

    def _add(self, edit: RecordEdit) -> None:
        key = edit.kind.name, edit.scope
        if key in self.records:
            raise Invalid("kind", edit.kind.name, f"one document for {edit.scope}")
        self.records[key] = edit

    def _version(self, kind: Kind, scope: Scope) -> int | None:
        """Return the stored version of a record. Raises `NotFound` on a wrong scope."""
        self._check_scope(scope)
        return self.settings.digest.revision_of(subjects.attributes(kind.name, scope))

    def _check_version(self, kind: Kind, scope: Scope, precondition: Precondition) -> int | None:
        """Return the stored version of a record. Raises `NotFound` and `Stale`."""
        version = self._version(kind, scope)
        preconditions.check(precondition, f"the {kind.name} record of {scope}", version)
        return version

    def _check_active(self, edit: RecordEdit) -> None:
        """Raise `Conflict` where a record changes whose project is archived and stays so.

        A project that the draft creates as archived may have records in the same draft.
        """
        if not edit.scope.project or edit.action == "none":
            return
        stored = self.settings.projects.get(edit.scope.project)
        match self.entities and self.entities.get(PROJECTS.subject(edit.scope.project)):
            case EntityEdit(after=ProjectChanged(state="active")):
                return
        try:
            if stored is not None:
                check_active(stored)
        except Conflict as error:
            raise error if edit.index is None else in_document(edit.index, error) from error

    def _check_scope(self, scope: Scope) -> None:
        for type, name in ((DOMAINS, scope.domain), (PROJECTS, scope.project)):
            is_new = self.entities and type.subject(name) in self.entities
            if name and not is_new:
                type.find(self.settings, name)


def readable_record(settings: Settings, kind: Kind, scope: Scope) -> Record | None:
    """Return the stored record. Raises `Unreadable`."""
    reason = settings.unreadable.get(kind.name, {}).get(scope)
    if reason is not None:
        raise Unreadable(
            f"the {kind.name} record of {scope} is not readable: {reason}; "
            "replace the whole record by put or apply, or delete it"
        )
    return settings.records.get(kind.name, {}).get(scope)


def leaf_changes(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[ChangedLeafBody, ...]:
    """Return the paths whose values differ, in the order of their names."""
    paths = sorted(before.keys() | after.keys())
    pairs = ((path, before.get(path), after.get(path)) for path in paths)
    return tuple(
        ChangedLeafBody(path=path, before=old, after=new) for path, old, new in pairs if old != new
    )


def in_document(index: int, error: Invalid | NotFound | Conflict) -> Invalid | Conflict:
    """Return the error with the document that it concerns."""
    match error:
        case Invalid():
            return Invalid(f"documents.{index}.{error.path}", error.value, error.allowed)
        case NotFound():
            return Invalid(
                f"documents.{index}.{error.object_type}", error.name, error.known or "nothing"
            )
        case Conflict():
            return Conflict(f"documents.{index}: {error}")


def _leaves(record: Record | None) -> dict[str, Any]:
    """Return the leaves of a record and, where it unsets paths, the list of them."""
    if record is None:
        return {}
    unset = record.listed_unset
    return {**record.flat, **({"unset": unset} if unset else {})}


def _prefix(index: int | None) -> str:
    return "" if index is None else f"documents.{index}.document."
