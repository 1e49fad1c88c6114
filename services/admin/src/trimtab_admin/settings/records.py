"""Records and effective values: read from the tree, written through one transaction."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from trimtab.api.effective import EffectiveAllBody, EffectiveBody
from trimtab.api.records import RecordBody
from trimtab.api.settings import ApplyBody, ChangesBody, DocumentBody
from trimtab.errors import NotFound, Unreadable
from trimtab.kinds import Kind
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin import paging
from trimtab_admin.access.rights import Caller, Role
from trimtab_admin.paging import Key, Page
from trimtab_admin.settings import applying, bodies, flyte
from trimtab_admin.settings.drafts import stored
from trimtab_admin.settings.nouns import check_scope
from trimtab_admin.settings.preconditions import Precondition
from trimtab_admin.settings.writing import Fill, Writing
from trimtab_admin.storage.database import Sessions
from trimtab_admin.storage.outbox import Author
from trimtab_admin.storage.past import Past
from trimtab_admin.storage.tree import Tree


class Listed(NamedTuple):
    """What is stored of a kind at a scope."""

    kind: str
    scope: Scope
    found: Record | str
    """Of one that cannot be read here, why."""

    def body(self, settings: Settings) -> RecordBody:
        if isinstance(self.found, Record):
            return bodies.of_record(self.found)
        version = settings.digest.revision_of(subjects.attributes(self.kind, self.scope))
        return bodies.of_unreadable(self.kind, self.scope, version or 0, self.found)


@dataclass(frozen=True)
class Filter:
    """Which records are listed of those that the caller sees; what is empty does not matter."""

    caller: Caller
    kind: str = ""
    level: str = ""
    domain: str = ""
    project: str = ""
    workflow: str = ""
    launch_plan: str = ""

    def takes(self, record: Listed) -> bool:
        scope = record.scope
        pairs = (
            (self.kind, record.kind),
            (self.level, scope.level.label),
            (self.domain, scope.domain),
            (self.project, scope.project),
            (self.workflow, scope.workflow),
            (self.launch_plan, scope.launch_plan),
        )
        return all(wanted in ("", found) for wanted, found in pairs) and self.caller.may(
            Role.VIEWER, scope, record.kind
        )


class Records:
    """What is stored, and what that adds up to."""

    def __init__(self, reading: Sessions, tree: Tree) -> None:
        self._reading = reading
        self._tree = tree

    async def list(self, which: Filter, token: str, limit: int) -> Page[RecordBody]:
        """In the order of kinds, then from broad to narrow. Raises `Invalid` on the token."""
        settings = await self._tree.latest(self._reading)
        found = [record for record in _all(settings) if which.takes(record)]
        page = paging.cut(sorted(found, key=_key), _key, token, limit)
        return Page([record.body(settings) for record in page.items], page.token)

    async def get(self, kind: Kind, scope: Scope) -> RecordBody:
        """Raises `NotFound` and `Unreadable`."""
        record = stored(await self._tree.latest(self._reading), kind, scope)
        if record is None:
            raise NotFound("record", f"{kind.name} of {scope}")
        return bodies.of_record(record)

    async def effective(
        self, kind: Kind, target: Scope, *, as_flyte: bool = False
    ) -> EffectiveBody:
        """Raises `NotFound` on a project or domain that there is not, and `Unreadable`."""
        rule = flyte.effective if as_flyte else Settings.effective
        settings = await self._tree.latest(self._reading)
        check_scope(settings, target)
        return bodies.of_effective(rule(settings, kind.name, target), settings.revision)

    async def effective_of_all(self, target: Scope, names: Sequence[str]) -> EffectiveAllBody:
        """Of these kinds. Raises `NotFound`; what is unreadable is told beside the others."""
        settings = await self._tree.latest(self._reading)
        check_scope(settings, target)
        found: dict[str, EffectiveBody] = {}
        unreadable: dict[str, str] = {}
        for name in names:
            try:
                effective = settings.effective(name, target)
            except Unreadable as error:
                unreadable[name] = str(error)
            else:
                found[name] = bodies.of_effective(effective, settings.revision)
        return EffectiveAllBody(
            target=bodies.of_scope(target),
            kinds=found,
            unreadable=unreadable,
            revision=settings.revision,
        )

    async def export(self, caller: Caller, *, readable_only: bool) -> ApplyBody:
        """Everything that the caller sees, as documents. Raises `Unreadable`."""
        settings = await self._tree.latest(self._reading)
        documents = applying.exported(settings, caller, readable_only=readable_only)
        return ApplyBody(documents=tuple(documents))


@dataclass(frozen=True)
class Located:
    """A record that is written, and what is demanded of it."""

    kind: Kind
    scope: Scope
    precondition: Precondition


class RecordWrites:
    """Each way to write, as what it does to a draft."""

    def __init__(self, writing: Writing, past: Past) -> None:
        self._writing = writing
        self._past = past

    async def put(self, at: Located, document: Mapping[str, Any], author: Author) -> RecordBody:
        """Replace the record. Raises `NotFound`, `Stale` and `Invalid`."""
        return await self._written(_putting(at, document), author)

    async def patch(self, at: Located, patch: Mapping[str, Any], author: Author) -> RecordBody:
        """Change some fields. Raises as `put`, and `Unreadable`."""
        return await self._written(_patching(at, patch), author)

    async def delete(self, at: Located, author: Author) -> None:
        """Remove exactly this record; there being none is fine. Raises as `put`."""
        await self._writing.commit(_deleting(at), author)

    async def rollback(self, at: Located, revision: int, author: Author) -> ChangesBody:
        """What it was at one of its versions, its labels aside. Raises as `put`."""
        return (await self._writing.commit(await self._restoring(at, revision), author)).body()

    async def dry_put(
        self, at: Located, document: Mapping[str, Any], caller: Caller
    ) -> ChangesBody:
        return await self._writing.dry(_putting(at, document), caller)

    async def dry_patch(self, at: Located, patch: Mapping[str, Any], caller: Caller) -> ChangesBody:
        return await self._writing.dry(_patching(at, patch), caller)

    async def dry_delete(self, at: Located, caller: Caller) -> ChangesBody:
        return await self._writing.dry(_deleting(at), caller)

    async def dry_rollback(self, at: Located, revision: int, caller: Caller) -> ChangesBody:
        return await self._writing.dry(await self._restoring(at, revision), caller)

    async def apply(
        self, documents: tuple[DocumentBody, ...], prune: str, author: Author
    ) -> ChangesBody:
        """All or nothing. Raises as `trimtab_admin.settings.applying.fill`, and `Forbidden`."""
        applying.check(author.caller, documents)
        return (
            await self._writing.commit(_applying(documents, prune, author.caller), author)
        ).body()

    async def dry_apply(
        self, documents: tuple[DocumentBody, ...], prune: str, caller: Caller
    ) -> ChangesBody:
        applying.check(caller, documents)
        return await self._writing.dry(_applying(documents, prune, caller), caller)

    async def _written(self, fill: Fill, author: Author) -> RecordBody:
        written = await self._writing.commit(fill, author)
        [edit] = written.draft.records.values()
        version = written.revision_of(edit)
        assert version is not None  # what is put is there
        return edit.record_body(version)

    async def _restoring(self, at: Located, revision: int) -> Fill:
        then = await self._past.version(at.kind, at.scope, revision)
        return _deleting(at) if then.document is None else _putting(at, then.document, then.labels)


def _putting(
    at: Located, document: Mapping[str, Any], once: Mapping[str, str] | None = None
) -> Fill:
    """``once`` are the labels of a record that is not there any more."""
    return lambda draft: draft.put(
        at.kind,
        at.scope,
        document,
        at.precondition,
        labels=None if at.scope in draft.settings.records.get(at.kind.name, {}) else once,
    )


def _patching(at: Located, patch: Mapping[str, Any]) -> Fill:
    return lambda draft: draft.patch(at.kind, at.scope, patch, at.precondition)


def _deleting(at: Located) -> Fill:
    return lambda draft: draft.delete(at.kind, at.scope, at.precondition)


def _applying(documents: tuple[DocumentBody, ...], prune: str, caller: Caller) -> Fill:
    owner = applying.label(prune)
    return lambda draft: applying.fill(draft, documents, owner, caller)


def _all(settings: Settings) -> Iterator[Listed]:
    for kind, records in settings.records.items():
        for scope, record in records.items():
            yield Listed(kind, scope, record)
    for kind, reasons in settings.unreadable.items():
        for scope, reason in reasons.items():
            yield Listed(kind, scope, reason)
    for kind, unknown in settings.unknown.items():
        for scope in unknown:
            yield Listed(kind, scope, "its kind is not installed here")


def _key(record: Listed) -> Key:
    return record.kind, int(record.scope.level), str(record.scope)
