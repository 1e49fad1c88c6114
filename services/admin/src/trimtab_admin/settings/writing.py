"""How a draft becomes a change, or only the account of one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trimtab.api.settings import ChangesBody
from trimtab_admin.access.rights import Caller
from trimtab_admin.executions.workflows import Registered
from trimtab_admin.settings import radius
from trimtab_admin.settings.drafts import Draft, Edit, PlaceEdit
from trimtab_admin.storage import names
from trimtab_admin.storage.changes import Change, Changes
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.outbox import Author
from trimtab_admin.storage.tree import Tree

Fill = Callable[[Draft], Any]
"""Makes the edits. Called again for every try, and never twice on one draft."""


@dataclass(frozen=True)
class Written:
    """What was written."""

    draft: Draft
    revisions: dict[str, int]
    """By subject; of what changed."""
    revision: int
    """Of the settings after it."""

    def revision_of(self, edit: Edit | PlaceEdit) -> int | None:
        """The version that is stored now; ``None`` where nothing is."""
        return None if edit.action == "delete" else self.revisions.get(edit.subject, edit.version)

    def body(self) -> ChangesBody:
        changes = tuple(
            edit.body(self.revisions.get(edit.subject, edit.version)) for edit in self.draft.edits
        )
        return ChangesBody(dry_run=False, revision=self.revision, changes=changes)


class Writing:
    """All writes of records, and of several things at once."""

    def __init__(self, changes: Changes, reading: Sessions, tree: Tree) -> None:
        self._changes = changes
        self._reading = reading
        self._tree = tree
        self._registered = Registered()

    async def commit(self, fill: Fill, author: Author) -> Written:
        """In one transaction, or not at all.

        Raises what `fill`, `Change.add` and `Draft.check` raise.
        """

        def written(change: Change) -> Written:
            draft, revisions = _drafted(change, fill)
            return Written(draft, revisions, change.revision)

        return await self._changes.commit(written, author)

    async def dry(self, fill: Fill, caller: Caller) -> ChangesBody:
        """What `commit` would do, and to whom. Raises what it would raise."""
        template = self._changes.namespace_template
        async with transaction(self._reading) as session:
            registered = await self._registered.current(session)
            # From here on nothing is awaited, so that the tree stays as it is.
            change = Change(await self._tree.current(session), caller)
            draft, _ = _drafted(change, fill)
            if change.renames:
                names.after(change.settings, change.writes, template)
            return ChangesBody(
                dry_run=True,
                revision=draft.settings.revision,
                changes=tuple(edit.body(None) for edit in draft.edits),
                radius=radius.of(draft, registered, template),
            )


def _drafted(change: Change, fill: Fill) -> tuple[Draft, dict[str, int]]:
    """What is wanted, and the revision that it gets by subject."""
    draft = Draft(change.settings)
    fill(draft)
    revisions = {
        edit.subject: change.add(edit.subject, edit.event(), deleted=edit.action == "delete")
        for edit in draft.edits
        if edit.action != "none"
    }
    # Last, because what it finds wrong tells values of other scopes: only to who may write here.
    draft.check()
    return draft, revisions
