"""Write requests carried out: each makes a draft, which is judged and then stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from trimtab.api.settings import ChangeBody, ChangesBody, RecordBody
from trimtab.levels import Scope
from trimtab.settings.state import Settings
from trimtab_admin import slices, steps
from trimtab_admin.access.authorization import Caller
from trimtab_admin.settings import blast_radius, documents, matching, widening
from trimtab_admin.settings.drafts import Draft, EntityEdit, RecordEdit
from trimtab_admin.settings.entities import B, E, EntityType
from trimtab_admin.settings.history import History
from trimtab_admin.settings.requests import (
    ApplyDocuments,
    ConfirmPrune,
    CreateEntity,
    DeleteEntity,
    DeleteRecord,
    DerivedWrites,
    PatchEntity,
    PatchRecord,
    PreparedRequest,
    PutEntity,
    PutRecord,
    RollBackRecord,
    WriteRequest,
)
from trimtab_admin.settings.targets import RegisteredTargets
from trimtab_admin.steps import Steps
from trimtab_admin.storage import namespace_names
from trimtab_admin.storage.changes import Change, Changes
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.outbox import Author
from trimtab_admin.storage.tree import Tree


@dataclass(frozen=True)
class WriteResult:
    """The outcome of a write request."""

    draft: Draft
    revisions: dict[str, int]
    """The new version of each subject that changed."""
    revision: int
    """The revision of the settings after the write."""

    def version_of(self, edit: RecordEdit | EntityEdit) -> int | None:
        """Return the stored version; ``None`` where nothing is stored."""
        return None if edit.action == "delete" else self.revisions.get(edit.subject, edit.version)

    def record(self) -> RecordBody:
        """Return the record that the request, which wrote exactly one, has created or replaced."""
        [edit] = self.draft.records.values()
        version = self.version_of(edit)
        assert version is not None, "the record was deleted"
        return edit.record_body(version)

    def entity(self, type: EntityType[B, E]) -> B:
        """Return the entity that the request, which wrote exactly one, has created or replaced."""
        [edit] = self.draft.entities.values()
        return type.parse(edit.after.name, type.to_document(edit.after), self.version_of(edit))

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings about all edits."""
        return tuple(warning for edit in self.draft.edits for warning in edit.warnings)

    async def changes(self) -> ChangesBody:
        def body(edit: RecordEdit | EntityEdit) -> ChangeBody:
            return edit.body(self.revisions.get(edit.subject, edit.version))

        changes = await slices.run(steps.each(body, self.draft.edits))
        return ChangesBody(dry_run=False, revision=self.revision, changes=tuple(changes))


class Writer:
    """Carries out every request to write records and entities."""

    def __init__(
        self,
        changes: Changes,
        reading: Sessions,
        tree: Tree,
        history: History,
        targets: RegisteredTargets,
    ) -> None:
        self._changes = changes
        self._reading = reading
        self._tree = tree
        self._history = history
        self._targets = targets

    async def write(self, request: WriteRequest, author: Author) -> WriteResult:
        """Store everything that a request changes, in one transaction, or nothing.

        Raises `Forbidden`, `NotFound`, `Stale`, `Invalid`, `Conflict` and `Unreadable`.
        """
        prepared = await self._prepare(request, author.caller)
        return await self._changes.commit(
            lambda change: _add_writes(change, prepared, author.caller), author
        )

    async def dry_run(self, request: WriteRequest, caller: Caller) -> ChangesBody:
        """Return what `write` would change and its blast radius. Raises what `write` would."""
        prepared = await self._prepare(request, caller)
        async with transaction(self._reading) as session:
            targets = await self._targets.current(session)
            settings = await self._tree.current(session)
            steps = self._dry_run(settings, prepared, caller, targets)
            try:
                next(steps)
            except StopIteration as end:
                result: ChangesBody = end.value
                return result
        # Other tasks change the settings during a pause.
        copied = await self._tree.copy()
        return await slices.run(self._dry_run(copied, prepared, caller, targets))

    def _dry_run(
        self,
        settings: Settings,
        request: PreparedRequest,
        caller: Caller,
        targets: Sequence[Scope],
    ) -> Steps[ChangesBody]:
        template = self._changes.namespace_template
        change = Change(settings)
        draft = (yield from _add_writes(change, request, caller)).draft
        if change.affects_namespaces:
            yield from namespace_names.compute(settings, change.writes, template)
        changes = yield from steps.each(lambda edit: edit.body(None), draft.edits)
        radius = yield from blast_radius.compute(draft, targets, template)
        return ChangesBody(
            dry_run=True, revision=settings.revision, changes=tuple(changes), radius=radius
        )

    async def _prepare(self, request: WriteRequest, caller: Caller) -> PreparedRequest:
        """Do the part of a request that needs no settings, and so is not repeated for each try."""
        match request:
            case ApplyDocuments():
                await slices.run(documents.check_access(request, caller))
            case RollBackRecord():
                return await self._restore(request)
        return request

    async def _restore(self, request: RollBackRecord) -> PreparedRequest:
        """Return the write that restores an earlier version of a record.

        Labels are not restored, except where the record has been deleted since.
        """
        kind, scope, precondition = request.kind, request.scope, request.precondition
        version = await self._history.version(kind, scope, request.revision)
        if version.document is None:
            return DeleteRecord(kind, scope, precondition)
        return PutRecord(kind, scope, version.document, precondition, version.labels)


def make_draft(settings: Settings, request: PreparedRequest, caller: Caller) -> Steps[Draft]:
    """Return the edits that a request makes of the settings. Its result is not judged yet."""
    draft = Draft(settings)
    yield from _edit(draft, request, caller)
    return draft


def _edit(draft: Draft, request: PreparedRequest, caller: Caller) -> Steps[None]:
    match request:
        case DerivedWrites():
            for write in request.derive(draft.settings):
                yield from _edit(draft, write, caller)
        case PutRecord():
            draft.put(request)
        case PatchRecord():
            draft.patch(request)
        case DeleteRecord():
            draft.delete(request)
        case CreateEntity():
            draft.create_entity(request)
        case PutEntity():
            draft.put_entity(request)
        case PatchEntity():
            draft.patch_entity(request)
        case DeleteEntity():
            draft.delete_entity(request)
        case ConfirmPrune():
            draft.confirm_prune(request)
        case ApplyDocuments():
            yield from documents.apply(draft, request, caller)
        case _:
            assert_never(request)


def _add_writes(change: Change, request: PreparedRequest, caller: Caller) -> Steps[WriteResult]:
    """Add the writes of a request to a change, if the caller may make them and they are valid."""
    draft = yield from make_draft(change.settings, request, caller)
    revisions = {}

    def add(edit: RecordEdit | EntityEdit) -> None:
        if edit.action != "none":
            event, deleted = edit.event(), edit.action == "delete"
            caller.check_change(change.settings, event)
            revision = change.add(edit.subject, event, deleted=deleted, record=edit.record)
            revisions[edit.subject] = revision

    yield from steps.each(add, draft.edits)
    # Judged last, because its errors show values of other scopes, which only a caller who may write
    # here may see.
    yield from draft.check()
    yield from widening.warn(draft)
    yield from matching.judge(draft)
    return WriteResult(draft, revisions, change.revision)
