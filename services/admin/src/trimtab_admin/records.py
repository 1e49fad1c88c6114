"""Records and effective values: read from the tree, written through one transaction."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trimtab import flyte, subjects
from trimtab.api import EffectiveBody, LeafBody, RecordBody, ScopeBody, SourceBody
from trimtab.database import Sessions, transaction
from trimtab.errors import NotFound, Unreadable
from trimtab.events import RecordChanged
from trimtab.fold import Effective, Leaf, Record
from trimtab.kinds import Kind
from trimtab.levels import Scope
from trimtab.state import Settings
from trimtab_admin import patches, preconditions, validity
from trimtab_admin.changes import Author, Change, Changes
from trimtab_admin.places import check_scope
from trimtab_admin.preconditions import Precondition
from trimtab_admin.tree import Tree


@dataclass(frozen=True)
class Filter:
    """Which records are listed; what is empty does not matter."""

    kind: str = ""
    level: str = ""
    domain: str = ""
    project: str = ""
    workflow: str = ""
    launch_plan: str = ""

    def takes(self, record: Record) -> bool:
        scope = record.scope
        pairs = (
            (self.kind, record.kind.name),
            (self.level, scope.level.label),
            (self.domain, scope.domain),
            (self.project, scope.project),
            (self.workflow, scope.workflow),
            (self.launch_plan, scope.launch_plan),
        )
        return all(wanted in ("", found) for wanted, found in pairs)


class Records:
    """What is stored for a kind at a scope, and what that adds up to."""

    def __init__(self, reading: Sessions, tree: Tree, changes: Changes) -> None:
        self._reading = reading
        self._tree = tree
        self._changes = changes

    async def list(self, which: Filter) -> Sequence[RecordBody]:
        """In the order of kinds, then from broad to narrow."""
        async with transaction(self._reading) as session:
            settings = await self._tree.current(session)
            found = [record for record in _all(settings) if which.takes(record)]
        found.sort(key=lambda record: (record.kind.name, record.scope.level, str(record.scope)))
        return [body_of(record) for record in found]

    async def get(self, kind: Kind, scope: Scope) -> RecordBody:
        """Raises `NotFound` and `Unreadable`."""
        async with transaction(self._reading) as session:
            record = _stored(await self._tree.current(session), kind, scope)
        if record is None:
            raise NotFound("record", f"{kind.name} of {scope}")
        return body_of(record)

    async def effective(
        self, kind: Kind, target: Scope, *, as_flyte: bool = False
    ) -> EffectiveBody:
        """Raises `NotFound` on a project or domain that there is not, and `Unreadable`."""
        rule = flyte.effective if as_flyte else Settings.effective
        async with transaction(self._reading) as session:
            settings = await self._tree.current(session)
            check_scope(settings, target)
            return _effective_body(rule(settings, kind.name, target), settings.revision)

    async def put(
        self,
        kind: Kind,
        scope: Scope,
        document: Mapping[str, Any],
        precondition: Precondition,
        author: Author,
    ) -> RecordBody:
        """Replace the record. Raises `NotFound`, `Stale` and `Invalid`."""
        async with self._changes.by(author) as change:
            return _replaced(change, kind, scope, document, precondition)

    async def patch(
        self,
        kind: Kind,
        scope: Scope,
        patch: Mapping[str, Any],
        precondition: Precondition,
        author: Author,
    ) -> RecordBody:
        """Change some fields. Raises as `put`, and `Unreadable`."""
        async with self._changes.by(author) as change:
            stored = _stored(change.settings, kind, scope)
            document = patches.merged(stored.document if stored else {}, patch)
            return _replaced(change, kind, scope, document, precondition)

    async def delete(
        self, kind: Kind, scope: Scope, precondition: Precondition, author: Author
    ) -> None:
        """Remove exactly this record; there being none is fine. Raises as `put`."""
        async with self._changes.by(author) as change:
            subject, version = _located(change, kind, scope)
            if version is None:
                return
            preconditions.check(precondition, _name(kind, scope), version)
            validity.check_deletion(kind, scope, change.settings.records.get(kind.name, {}))
            change.add(subject, RecordChanged.at(scope, kind.name, None), deleted=True)


def _located(change: Change, kind: Kind, scope: Scope) -> tuple[str, int | None]:
    """The subject of a record, and the version that is stored."""
    check_scope(change.settings, scope)
    subject = subjects.attributes(kind.name, scope)
    return subject, change.settings.digest.revision_of(subject)


def _replaced(
    change: Change,
    kind: Kind,
    scope: Scope,
    document: Mapping[str, Any],
    precondition: Precondition,
) -> RecordBody:
    """The record with a new version, or with its old one where nothing changes."""
    subject, version = _located(change, kind, scope)
    preconditions.check(precondition, _name(kind, scope), version)
    stored = change.settings.records.get(kind.name, {})
    normal = validity.check(kind, scope, stored, document)
    before = stored.get(scope)
    if version is None or before is None or before.document != normal:
        version = change.add(subject, RecordChanged.at(scope, kind.name, normal))
    return RecordBody(kind=kind.name, scope=scope_body(scope), version=version, document=normal)


def _name(kind: Kind, scope: Scope) -> str:
    return f"the {kind.name} record of {scope}"


def _all(settings: Settings) -> Iterator[Record]:
    for by_scope in settings.records.values():
        yield from by_scope.values()


def _stored(settings: Settings, kind: Kind, scope: Scope) -> Record | None:
    unreadable = settings.unreadable.get(kind.name, {}).get(scope)
    if unreadable is not None:
        raise Unreadable(f"the {kind.name} record of {scope} is not readable: {unreadable}")
    return settings.records.get(kind.name, {}).get(scope)


def body_of(record: Record) -> RecordBody:
    return RecordBody(
        kind=record.kind.name,
        scope=scope_body(record.scope),
        version=record.revision,
        document=record.document,
    )


def scope_body(scope: Scope) -> ScopeBody:
    return ScopeBody(
        level=scope.level.label,
        domain=scope.domain,
        project=scope.project,
        workflow=scope.workflow,
        launch_plan=scope.launch_plan,
    )


def _effective_body(effective: Effective, revision: int) -> EffectiveBody:
    return EffectiveBody(
        kind=effective.kind.name,
        target=scope_body(effective.target),
        document=effective.document,
        leaves=tuple(_leaf_body(path, leaf) for path, leaf in sorted(effective.leaves.items())),
        revision=revision,
    )


def _leaf_body(path: str, leaf: Leaf) -> LeafBody:
    overrode = tuple(
        SourceBody(scope=str(source.scope), revision=source.revision, value=source.value)
        for source in leaf.overrode
    )
    return LeafBody(
        path=path,
        value=leaf.value,
        scope=str(leaf.scope),
        revision=leaf.revision,
        overrode=overrode,
    )
