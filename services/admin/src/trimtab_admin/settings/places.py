"""Projects, domains, clusters and pools: what settings and executions refer to by name."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic

from trimtab.errors import Conflict
from trimtab.settings.state import Settings
from trimtab_admin.settings import patches, preconditions
from trimtab_admin.settings.drafts import Draft
from trimtab_admin.settings.nouns import B, E, Noun
from trimtab_admin.settings.preconditions import Absent, Precondition
from trimtab_admin.storage.changes import Change, Changes
from trimtab_admin.storage.database import Sessions
from trimtab_admin.storage.outbox import Author
from trimtab_admin.storage.tree import Tree


class Places(Generic[B, E]):
    """One sort of place."""

    def __init__(self, noun: Noun[B, E], reading: Sessions, tree: Tree, changes: Changes) -> None:
        self._noun = noun
        self._reading = reading
        self._tree = tree
        self._changes = changes

    async def list(self) -> Sequence[B]:
        settings = await self._tree.latest(self._reading)
        return [self._body(settings, name) for name in sorted(self._noun.kept(settings))]

    async def get(self, name: str) -> B:
        """Raises `NotFound`."""
        return self._body(await self._tree.latest(self._reading), name)

    async def create(self, body: B, author: Author) -> B:
        """Raises `Conflict` where the name is taken."""

        def made(change: Change) -> B:
            if body.name in self._noun.kept(change.settings):
                raise Conflict(f"{self._noun.name} {body.name!r} exists already")
            return self._stored(change, body, Absent())

        return await self._changes.commit(made, author)

    async def put(self, body: B, precondition: Precondition, author: Author) -> B:
        """Replace it or make it. Raises `Stale`."""
        return await self._changes.commit(
            lambda change: self._stored(change, body, precondition), author
        )

    async def patch(
        self, name: str, patch: Mapping[str, Any], precondition: Precondition, author: Author
    ) -> B:
        """Change some fields by JSON merge patch. Raises `NotFound`, `Stale` and `Invalid`."""
        noun = self._noun

        def patched(change: Change) -> B:
            document = noun.to_document(noun.find(change.settings, name))
            body = noun.parse(name, patches.merged(document, patch))
            return self._stored(change, body, precondition)

        return await self._changes.commit(patched, author)

    async def delete(self, name: str, precondition: Precondition, author: Author) -> None:
        """There being none is fine. Raises `Stale`."""
        noun = self._noun

        def without(change: Change) -> None:
            stored = noun.kept(change.settings).get(name)
            if stored is None:
                return
            version = change.settings.digest.revision_of(noun.subject(name))
            preconditions.check(precondition, f"{noun.name} {name}", version)
            gone = stored.model_copy(update={"deleted": True})
            change.add(noun.subject(name), gone, deleted=True)

        await self._changes.commit(without, author)

    def _body(self, settings: Settings, name: str) -> B:
        version = settings.digest.revision_of(self._noun.subject(name))
        return self._noun.to_body(self._noun.find(settings, name), version)

    def _stored(self, change: Change, body: B, precondition: Precondition) -> B:
        """With a new version, or with its old one where nothing changes."""
        edit = Draft(change.settings).place(self._noun, body, precondition)
        if edit.action == "none":
            return self._body(change.settings, body.name)
        version = change.add(edit.subject, edit.event())
        return self._noun.parse(body.name, self._noun.to_document(edit.after), version)
