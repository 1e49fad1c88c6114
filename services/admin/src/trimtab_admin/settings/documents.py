"""Documents: all writes of one apply made in a draft, and the settings exported. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from trimtab.api.settings import DocumentBody
from trimtab.errors import Conflict, Forbidden, Invalid, NotFound, Stale, Unreadable
from trimtab.levels import Level, Scope
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin import steps
from trimtab_admin.access.authorization import Caller, Role
from trimtab_admin.settings.drafts import Draft, in_document
from trimtab_admin.settings.entities import ENTITY_TYPES, PROJECTS, Entity, EntityType
from trimtab_admin.settings.preconditions import AnyVersion
from trimtab_admin.settings.requests import (
    ApplyDocuments,
    DeleteRecord,
    Document,
    Label,
    PutEntity,
    PutRecord,
)
from trimtab_admin.steps import Steps
from trimtab_admin.storage.record_index import Entry, RecordIndex


def check_access(request: ApplyDocuments, caller: Caller) -> Steps[None]:
    """Raise `Forbidden` where the caller may not write what some document names.

    Called before the settings are read, so that the refusal reveals nothing about them. Raises
    `Invalid` where the documents are too few for what is pruned.
    """
    request.check_not_empty()

    def check(document: Document) -> None:
        try:
            scope = document.scope
        except Invalid as error:
            raise in_document(document.index, error) from error
        if document.body.kind == PROJECTS.name:
            caller.check(Role.ADMIN, Scope(project=document.body.name))
        elif document.is_entity:
            caller.check(Role.ADMIN)
        else:
            caller.check(Role.EDITOR, scope, document.body.kind)

    yield from steps.each(check, request.documents)


def apply(draft: Draft, request: ApplyDocuments, caller: Caller) -> Steps[None]:
    """Put every document, then prune the records of the request's label that have no document.

    Raises `Invalid`, `Conflict` and `Stale`, which name the document, and `Forbidden`.
    """
    label = request.label

    def put(document: Document) -> None:
        try:
            _put(draft, document, label)
        except (Invalid, NotFound, Conflict) as error:
            raise in_document(document.index, error) from error
        except Stale as error:
            what = f"what documents.{document.index} replaces"
            raise Stale(what, document.body.version, error.stored) from error

    # Records may refer to entities of the same request, in whatever order the documents come.
    ordered = sorted(request.documents, key=lambda document: not document.is_entity)
    yield from steps.each(put, ordered)
    if label is not None:
        yield from _prune(draft, label, caller)


def _put(draft: Draft, document: Document, label: Label | None) -> None:
    match document.request:
        case PutEntity() as request:
            draft.put_entity(request, index=document.index)
        case PutRecord() as request:
            labels = _labels(draft.settings, request, document.body, label)
            try:
                draft.put(request, labels=labels, index=document.index)
            except Invalid as error:
                raise _in_fields(error) from error


def _in_fields(error: Invalid) -> Invalid:
    """Return the error with a path that starts at the document, if it concerns a field of it."""
    is_field = error.path not in ("kind", "level")
    path = f"document.{error.path}" if is_field else error.path
    return Invalid(path, error.value, error.allowed)


def _labels(
    settings: Settings, request: PutRecord, body: DocumentBody, label: Label | None
) -> Mapping[str, str] | None:
    """Return the record's new labels; ``None`` where they stay as they are.

    Raises `Conflict` where the record has another value of the label.
    """
    if label is None:
        return body.labels
    stored = settings.records.get(request.kind.name, {}).get(request.scope)
    before = stored.labels if stored else {}
    if before.get(label.key, label.value) != label.value:
        raise Conflict(
            f"the {body.kind} record of {request.scope} has another label: "
            f"{label.key}={before[label.key]}"
        )
    given = before if body.labels is None else body.labels
    if given.get(label.key, label.value) != label.value:
        allowed = f"{label.value}, the value that prune has"
        raise Invalid(f"labels.{label.key}", given[label.key], allowed)
    return {**given, label.key: label.value}


def _prune(draft: Draft, label: Label, caller: Caller) -> Steps[None]:
    def delete(record: Record) -> None:
        name, scope = record.kind.name, record.scope
        if record.labels.get(label.key) != label.value or (name, scope) in draft.records:
            return
        if not caller.may(Role.EDITOR, scope, name):
            # The message does not name the scope, because the caller may not know that it has
            # records; the audit trail does.
            records_of = f"all records of {label.key}={label.value}"
            message = f'User "{caller.name}" is not an editor of {records_of}'
            raise Forbidden(message, str(scope))
        draft.delete(DeleteRecord(record.kind, scope, AnyVersion()))

    for records in list(draft.settings.records.values()):
        yield from steps.each(delete, list(records.values()), steps.LIGHT)


class Snapshot(NamedTuple):
    """The settings of one revision, which stay as they are while others write."""

    revision: int
    entities: Sequence[tuple[EntityType[Any, Any], Entity]]
    entries: Sequence[Entry]
    """All records, in a stable order."""
    records: Mapping[str, Mapping[Scope, Record]]
    """Readable records, by kind and scope."""

    @classmethod
    def of(cls, settings: Settings, index: RecordIndex) -> "Snapshot":
        entities = [
            (type, event)
            for type in ENTITY_TYPES.values()
            for _, event in sorted(type.stored(settings).items())
        ]
        # Records never change: a write replaces them, so it is enough to copy the references.
        records = {kind: dict(by_scope) for kind, by_scope in settings.records.items()}
        return cls(settings.revision, entities, list(index), records)

    def exported(
        self, entries: Iterable[Entry], caller: Caller, *, readable_only: bool
    ) -> Iterator[Record]:
        """Yield what the caller may read of these, except for the layer of the settings file.

        Raises `Unreadable` where a record cannot be written back, unless ``readable_only`` is true.
        """
        for entry in entries:
            kind, scope = entry.kind, entry.scope
            if scope.level is Level.SETTINGS or not caller.may(Role.VIEWER, scope, kind):
                continue
            record = self.records.get(kind, {}).get(scope)
            if record is not None:
                yield record
            elif not readable_only:
                raise Unreadable(
                    f"the {kind} record of {scope} is not readable here, so it cannot be exported; "
                    "?readable_only=true leaves such records out"
                )


class Export(NamedTuple):
    """Everything that a caller may read of one revision, as documents that `apply` accepts."""

    revision: int
    entities: Sequence[tuple[EntityType[Any, Any], Entity]]
    records: Sequence[Record]

    def __len__(self) -> int:
        return len(self.entities) + len(self.records)

    def documents(self) -> Iterator[DocumentBody]:
        """Yield entities first, then records by kind and from broad to narrow."""
        for type, event in self.entities:
            yield DocumentBody(kind=type.name, name=event.name, document=type.to_document(event))
        yield from map(_document, self.records)


def _document(record: Record) -> DocumentBody:
    scope = record.scope
    return DocumentBody(
        kind=record.kind.name,
        domain=scope.domain,
        project=scope.project,
        workflow=scope.workflow,
        launch_plan=scope.launch_plan,
        document=record.make_document(),
        labels=dict(record.labels) or None,
    )
