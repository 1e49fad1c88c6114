"""Changes that are to be made together, judged together before anything is written. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from trimtab import kinds
from trimtab.api.records import RecordBody
from trimtab.api.settings import ChangeBody, ChangedLeafBody
from trimtab.errors import Conflict, Invalid, NotFound, Unreadable
from trimtab.kinds import Kind
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import Event, ProjectChanged, RecordChanged
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin.settings import bodies, patches, preconditions, validity
from trimtab_admin.settings.comparison import Comparison
from trimtab_admin.settings.nouns import DOMAINS, PROJECTS, Body, Noun, Place, check_active
from trimtab_admin.settings.preconditions import Precondition

Action = Literal["create", "update", "delete", "none"]


@dataclass(frozen=True)
class Edit:
    """What becomes of one record."""

    kind: Kind
    scope: Scope
    version: int | None
    """Of what is stored, also where it cannot be read."""
    before: Record | None
    after: Record | None
    index: int | None = None
    """Of the document that asks for it."""
    warnings: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        return subjects.attributes(self.kind.name, self.scope)

    @property
    def action(self) -> Action:
        if self.after is None:
            return "none" if self.version is None else "delete"
        if self.version is None:
            return "create"
        if self.before is None:
            return "update"
        same = self.before.document == self.after.document
        return "none" if same and self.before.labels == self.after.labels else "update"

    def event(self) -> Event:
        after = self.after
        document, labels = (after.document, after.labels) if after else (None, None)
        return RecordChanged.at(self.scope, self.kind.name, document, labels)

    def body(self, revision: int | None) -> ChangeBody:
        """``revision`` is the one that it got."""
        before, after = self.before, self.after
        return ChangeBody(
            kind=self.kind.name,
            scope=bodies.of_scope(self.scope),
            index=self.index,
            action=self.action,
            version=self.version,
            revision=revision,
            changes=leaf_changes(_said(before), _said(after)),
            labels=leaf_changes(before.labels if before else {}, after.labels if after else {}),
            warnings=self.warnings,
        )

    def record_body(self, revision: int) -> RecordBody:
        """Of the record after the write."""
        after = self.after
        return RecordBody(
            kind=self.kind.name,
            scope=bodies.of_scope(self.scope),
            version=revision,
            document=after.document if after else {},
            labels=dict(after.labels) if after else {},
            warnings=self.warnings,
        )


@dataclass(frozen=True)
class PlaceEdit:
    """What becomes of one project, domain, cluster or pool."""

    noun: Noun[Any, Any]
    version: int | None
    before: Place | None
    after: Place
    index: int | None = None

    @property
    def subject(self) -> str:
        return self.noun.subject(self.after.name)

    @property
    def action(self) -> Action:
        if self.before is None:
            return "create"
        return "none" if self.before == self.after else "update"

    def event(self) -> Event:
        return self.after

    def body(self, revision: int | None) -> ChangeBody:
        before = {} if self.before is None else self.noun.to_document(self.before)
        return ChangeBody(
            kind=self.noun.name,
            name=self.after.name,
            index=self.index,
            action=self.action,
            version=self.version,
            revision=revision,
            changes=leaf_changes(before, self.noun.to_document(self.after)),
        )


@dataclass
class Draft:
    """Nothing is asked of the order in which edits are made, but that a project comes first."""

    settings: Settings
    """All that is stored."""
    records: dict[tuple[str, Scope], Edit] = field(default_factory=dict)
    places: dict[str, PlaceEdit] = field(default_factory=dict)
    """By subject."""

    @property
    def edits(self) -> Iterator[Edit | PlaceEdit]:
        """What is referred to comes first."""
        yield from self.places.values()
        yield from self.records.values()

    def put(
        self,
        kind: Kind,
        scope: Scope,
        document: Mapping[str, Any],
        precondition: Precondition,
        *,
        labels: Mapping[str, str] | None = None,
        index: int | None = None,
    ) -> Edit:
        """Replace a record; without labels, those that it has stay.

        Raises `NotFound`, `Stale` and `Invalid`.
        """
        version = self._located(kind, scope, precondition)
        before = self.settings.records.get(kind.name, {}).get(scope)
        kept = labels if labels is not None else before.labels if before else {}
        normal = kind.to_document(kind.parse(dict(document), scope))
        after = Record.of(kind, scope, 0, normal, dict(kept))
        warnings = kind.warnings(document)
        return self._add(Edit(kind, scope, version, before, after, index, warnings))

    def patch(
        self, kind: Kind, scope: Scope, patch: Mapping[str, Any], precondition: Precondition
    ) -> Edit:
        """Change some fields of a record. Raises as `put`, and `Unreadable`."""
        before = stored(self.settings, kind, scope)
        stored_document = before.document if before else {}
        document = patches.merged(
            stored_document, kind.rename_deprecated(patch), kind.schema.is_atomic
        )
        edit = self.put(kind, scope, document, precondition)
        return self._replaced(edit, kind.warnings(patch))

    def delete(
        self, kind: Kind, scope: Scope, precondition: Precondition, *, index: int | None = None
    ) -> Edit:
        """Remove a record; there being none is fine. Raises as `put`."""
        version = self._version(kind, scope)
        if version is not None:
            self._located(kind, scope, precondition)
        before = self.settings.records.get(kind.name, {}).get(scope)
        return self._add(Edit(kind, scope, version, before, None, index))

    def place(
        self,
        noun: Noun[Any, Any],
        body: Body,
        precondition: Precondition,
        *,
        index: int | None = None,
    ) -> PlaceEdit:
        """Make or replace a project, domain, cluster or pool. Raises `Stale` and `Invalid`."""
        subject = noun.subject(body.name)
        version = self.settings.digest.revision_of(subject)
        preconditions.check(precondition, f"{noun.name} {body.name}", version)
        if subject in self.places:
            raise Invalid("name", body.name, f"each {noun.name} once")
        before = noun.kept(self.settings).get(body.name)
        after = noun.to_event(noun.kept_fields(body, before))
        edit = self.places[subject] = PlaceEdit(noun, version, before, after, index)
        return edit

    def check(self) -> None:
        """Raises, naming the document, `Conflict` where something changes in an archived project,
        and `Invalid` where some effective value would be wrong.
        """
        for edit in self.records.values():
            if edit.scope.project and edit.action != "none":
                self._check_active(edit)
        for comparison in self.comparisons():
            wrong = validity.first_wrong(comparison)
            if wrong is not None:
                raise wrong.error(_prefix(self._blamed(comparison, wrong)))

    def comparisons(self) -> Iterator[Comparison]:
        """One for each kind of which a record changes."""
        for name in dict.fromkeys(kind for kind, _scope in self.records):
            edits = {
                edit.scope: edit.after
                for edit in self.records.values()
                if edit.kind.name == name and edit.action != "none"
            }
            if edits:
                stored = self.settings.records.get(name, {})
                places = self.settings.by_project_domain.get(name, {})
                yield Comparison(kinds.by_name(name), stored, edits, places)

    def names(self, noun: Noun[Any, Any]) -> Mapping[str, Place]:
        """Those of a sort that there will be."""
        added = {edit.after.name: edit.after for edit in self.places.values() if edit.noun is noun}
        return {**noun.kept(self.settings), **added}

    def _blamed(self, comparison: Comparison, wrong: validity.Wrong) -> int | None:
        edits = {edit.scope: edit for edit in self.records.values() if edit.kind is comparison.kind}
        for scope in wrong.scopes:
            if scope in comparison.edits:
                return edits[scope].index
        return next(
            (edits[at].index for at in comparison.edits if at.covers(wrong.effective.target)), None
        )

    def _add(self, edit: Edit) -> Edit:
        key = edit.kind.name, edit.scope
        if key in self.records:
            raise Invalid("kind", edit.kind.name, f"one document for {edit.scope}")
        self.records[key] = edit
        return edit

    def _replaced(self, edit: Edit, warnings: tuple[str, ...]) -> Edit:
        found = Edit(
            edit.kind, edit.scope, edit.version, edit.before, edit.after, edit.index, warnings
        )
        self.records[edit.kind.name, edit.scope] = found
        return found

    def _version(self, kind: Kind, scope: Scope) -> int | None:
        self._check_scope(scope)
        return self.settings.digest.revision_of(subjects.attributes(kind.name, scope))

    def _located(self, kind: Kind, scope: Scope, precondition: Precondition) -> int | None:
        version = self._version(kind, scope)
        preconditions.check(precondition, f"the {kind.name} record of {scope}", version)
        return version

    def _check_active(self, edit: Edit) -> None:
        """A project that comes archived brings its records along; one that was archived may not."""
        stored = self.settings.projects.get(edit.scope.project)
        match self.places.get(PROJECTS.subject(edit.scope.project)):
            case PlaceEdit(after=ProjectChanged(state="active")):
                return
        try:
            if stored is not None:
                check_active(stored)
        except Conflict as error:
            raise error if edit.index is None else in_document(edit.index, error) from error

    def _check_scope(self, scope: Scope) -> None:
        for noun, name in ((DOMAINS, scope.domain), (PROJECTS, scope.project)):
            if name and noun.subject(name) not in self.places:
                noun.find(self.settings, name)


def stored(settings: Settings, kind: Kind, scope: Scope) -> Record | None:
    """Raises `Unreadable`."""
    unreadable = settings.unreadable.get(kind.name, {}).get(scope)
    if unreadable is not None:
        raise Unreadable(
            f"the {kind.name} record of {scope} is not readable: {unreadable}; "
            "put or apply another one whole, or delete it"
        )
    return settings.records.get(kind.name, {}).get(scope)


def leaf_changes(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[ChangedLeafBody, ...]:
    """What differs, by path."""
    paths = sorted(before.keys() | after.keys())
    pairs = ((path, before.get(path), after.get(path)) for path in paths)
    return tuple(
        ChangedLeafBody(path=path, before=old, after=new) for path, old, new in pairs if old != new
    )


def _said(record: Record | None) -> dict[str, Any]:
    if record is None:
        return {}
    unset = record.document.get("unset")
    return {**record.flat, **({"unset": unset} if unset else {})}


def _prefix(index: int | None) -> str:
    return "" if index is None else f"documents.{index}.document."


def in_document(index: int, error: Invalid | NotFound | Conflict) -> Invalid | Conflict:
    """The error of one document, among those that are written together."""
    match error:
        case Invalid():
            return Invalid(f"documents.{index}.{error.path}", error.value, error.allowed)
        case NotFound():
            path = f"documents.{index}.{error.object_type}"
            return Invalid(path, error.name, error.known or "nothing")
        case Conflict():
            return Conflict(f"documents.{index}: {error}")
