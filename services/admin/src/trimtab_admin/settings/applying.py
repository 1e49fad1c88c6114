"""Documents: everything written from them at once, and everything written out as them. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from trimtab import kinds
from trimtab.api.settings import DocumentBody
from trimtab.errors import Conflict, Forbidden, Invalid, NotFound, Stale, Unreadable
from trimtab.labels import Labels
from trimtab.levels import Level, Scope
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin.access.rights import Caller, Role
from trimtab_admin.settings.drafts import Draft, in_document
from trimtab_admin.settings.nouns import BY_NAME, PROJECTS, parts_of
from trimtab_admin.settings.preconditions import Absent, Anything, Precondition, Version

_LABELS: TypeAdapter[dict[str, str]] = TypeAdapter(Labels)


class Label(NamedTuple):
    """Who owns records."""

    key: str
    value: str


def label(text: str) -> Label | None:
    """``owner=team-a``; ``None`` where nothing is said. Raises `Invalid`."""
    if not text:
        return None
    key, equals, value = text.partition("=")
    try:
        _LABELS.validate_python({key: value})
    except ValidationError as error:
        raise Invalid("prune", text, "a label, such as owner=team-a") from error
    if not equals or not value:
        raise Invalid("prune", text, "a label with its value, such as owner=team-a")
    return Label(key, value)


def check(caller: Caller, documents: Sequence[DocumentBody]) -> None:
    """Before anything is read, so that a refusal tells nothing. Raises `Forbidden`."""
    for index, document in enumerate(documents):
        try:
            scope = _scope(document)
        except Invalid as error:
            raise in_document(index, error) from error
        if document.kind == PROJECTS.name:
            caller.check(Role.ADMIN, Scope(project=document.name))
        elif document.kind in BY_NAME:
            caller.check(Role.ADMIN)
        else:
            caller.check(Role.EDITOR, scope, document.kind)


def fill(
    draft: Draft, documents: Sequence[DocumentBody], owner: Label | None, caller: Caller
) -> None:
    """Put all of them; delete what the owner has beside them.

    Raises `Invalid`, `Conflict` and `Stale`, naming the document, and `Forbidden`.
    """
    # Records may refer to what is made beside them, wherever it stands.
    order = sorted(range(len(documents)), key=lambda index: documents[index].kind not in BY_NAME)
    for index in order:
        try:
            _put(draft, documents[index], owner, index)
        except (Invalid, NotFound, Conflict) as error:
            raise in_document(index, error) from error
        except Stale as error:
            version = documents[index].version
            raise Stale(f"what documents.{index} replaces", version, error.stored) from error
    if owner is not None:
        _prune(draft, owner, caller)


def _put(draft: Draft, document: DocumentBody, owner: Label | None, index: int) -> None:
    precondition = _precondition(document.version)
    if document.kind in BY_NAME:
        _check_place(document)
        noun = BY_NAME[document.kind]
        try:
            body = noun.parse(document.name, document.document)
        except Invalid as error:
            path = error.path if error.path == "name" else f"document.{error.path}"
            raise Invalid(path, error.value, error.allowed) from error
        draft.place(noun, body, precondition, index=index)
        return
    if document.name:
        raise Invalid("name", document.name, "nothing: a record is named by its scope")
    kind = kinds.by_name(document.kind)
    scope = _scope(document)
    stored = draft.settings.records.get(kind.name, {}).get(scope)
    labels = _labels(document, stored, owner)
    try:
        draft.put(kind, scope, document.document, precondition, labels=labels, index=index)
    except Invalid as error:
        raise _inside(error) from error


def _inside(error: Invalid) -> Invalid:
    """With the way into the document, unless it is about what stands beside it."""
    beside = error.path in ("kind", "level")
    path = error.path if beside else f"document.{error.path}"
    return Invalid(path, error.value, error.allowed)


def _check_place(document: DocumentBody) -> None:
    for name, value in parts_of(_scope(document)).items():
        if value:
            raise Invalid(name, value, f"nothing: a {document.kind} has a name and no scope")
    if document.labels is not None:
        raise Invalid("labels", document.labels, "nothing: only records are owned by a label")


def _scope(document: DocumentBody) -> Scope:
    return Scope(document.domain, document.project, document.workflow, document.launch_plan)


def _precondition(version: int | None) -> Precondition:
    if version is None:
        return Anything()
    return Version(version) if version else Absent()


def _labels(
    document: DocumentBody, stored: Record | None, owner: Label | None
) -> Mapping[str, str] | None:
    """Those that the record gets; ``None`` where they stay. Raises `Conflict`."""
    if owner is None:
        return document.labels
    had = stored.labels if stored else {}
    if had.get(owner.key, owner.value) != owner.value:
        raise Conflict(
            f"the {document.kind} record of {_scope(document)} is owned by "
            f"{owner.key}={had[owner.key]}"
        )
    given = had if document.labels is None else document.labels
    if given.get(owner.key, owner.value) != owner.value:
        raise Invalid(f"labels.{owner.key}", given[owner.key], f"{owner.value}, as prune says")
    return {**given, owner.key: owner.value}


def _prune(draft: Draft, owner: Label, caller: Caller) -> None:
    for name, records in draft.settings.records.items():
        for scope, record in records.items():
            is_owned = record.labels.get(owner.key) == owner.value
            if is_owned and (name, scope) not in draft.records:
                if not caller.may(Role.EDITOR, scope, name):
                    # The scope is for the audit trail: the caller may not know that it has records.
                    what = f"all that is owned by {owner.key}={owner.value}"
                    raise Forbidden(f"{caller.name!r} is no editor of {what}", str(scope))
                draft.delete(record.kind, scope, Anything())


def exported(settings: Settings, caller: Caller, *, readable_only: bool) -> Iterator[DocumentBody]:
    """What the caller sees, but the layer of the settings file, in an order that does not change.

    A caller who is bound to a prefix gets only what it can apply again. Raises `Unreadable` where a
    record cannot be written back, unless it may be left out.
    """
    if not readable_only:
        _check_readable(settings, caller)
    if caller.may(Role.VIEWER):
        for noun in BY_NAME.values():
            for name, event in sorted(noun.kept(settings).items()):
                yield DocumentBody(kind=noun.name, name=name, document=noun.to_document(event))
    for kind in sorted(settings.records):
        records = settings.records[kind].values()
        for record in sorted(records, key=lambda record: (record.scope.level, str(record.scope))):
            is_seen = caller.may(Role.VIEWER, record.scope, kind)
            if is_seen and record.scope.level is not Level.SETTINGS:
                yield _document(record)


def _document(record: Record) -> DocumentBody:
    return DocumentBody(
        kind=record.kind.name,
        **parts_of(record.scope),
        document=record.document,
        labels=dict(record.labels) or None,
    )


def _check_readable(settings: Settings, caller: Caller) -> None:
    for family in (settings.unreadable, settings.unknown):
        for kind, records in family.items():
            for scope in records:
                if not caller.may(Role.VIEWER, scope, kind):
                    continue
                raise Unreadable(
                    f"the {kind} record of {scope} is not readable here, so it cannot be exported; "
                    "?readable_only=true leaves such records out"
                )
