"""Reads of records, effective values and entities, answered from the settings in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trimtab.api.settings import EffectiveAllBody, EffectiveBody, RecordBody
from trimtab.errors import NotFound, Unreadable
from trimtab.kinds import Kind
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.settings import flyte
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin import paging, slices
from trimtab_admin.access.authorization import Caller, Role
from trimtab_admin.paging import Page
from trimtab_admin.settings import bodies, documents
from trimtab_admin.settings.documents import Export
from trimtab_admin.settings.drafts import readable_record
from trimtab_admin.settings.entities import B, E, EntityType, check_scope
from trimtab_admin.storage.database import Sessions
from trimtab_admin.storage.record_index import START, Entry, Key, Search
from trimtab_admin.storage.tree import Tree


@dataclass(frozen=True)
class RecordFilter:
    """Selects records that the caller may read."""

    caller: Caller
    search: Search

    def narrowed(self) -> Search:
        """Return the search, narrowed to what all grants of the caller have in common."""
        scopes = [grant.scope for grant in self.caller.grants]
        common = {
            name: values.pop()
            for name in ("domain", "project")
            if len(values := {getattr(scope, name) for scope in scopes}) == 1
        }
        return replace(self.search, **{**common, **self.search.parts})

    def shows(self, entry: Entry) -> bool:
        return self.caller.may(Role.VIEWER, entry.scope, entry.kind)


class Reader:
    """Answers reads from the newest settings."""

    def __init__(self, reading: Sessions, tree: Tree) -> None:
        self._reading = reading
        self._tree = tree

    async def records(self, filter: RecordFilter, token: str, limit: int) -> Page[RecordBody]:
        """Return records by kind, then from broad to narrow. Raises `Invalid` on the token.

        They are looked for in slices: each is shown once, and as it is at some time of the call.
        """
        last: Key | None = _key(token)
        await self._shown()
        search, found = filter.narrowed(), list[tuple[Key, RecordBody]]()
        while last is not None:
            await slices.turn()
            settings = self._tree.unverified
            entries, last = self._tree.index.find(search, last, slices.SIZE)
            shown = [entry for entry in entries if filter.shows(entry)]
            found += [(entry.key, _listed(settings, entry)) for entry in shown]
            if len(found) > limit:
                return Page([body for _, body in found[:limit]], paging.encode(found[limit - 1][0]))
        return Page([body for _, body in found], None)

    async def record(self, kind: Kind, scope: Scope) -> RecordBody:
        """Raises `NotFound` and `Unreadable`."""
        record = readable_record(await self._shown(), kind, scope)
        if record is None:
            raise NotFound("record", f"{kind.name} of {scope}")
        return bodies.record_body(record)

    async def effective(
        self, kind: Kind, target: Scope, *, as_flyte: bool = False
    ) -> EffectiveBody:
        """Return the effective value, by Flyte 1's rule or by ours.

        Raises `NotFound` where the project or domain does not exist, and `Unreadable`.
        """
        rule = flyte.effective if as_flyte else Settings.effective
        settings = await self._shown()
        check_scope(settings, target)
        return bodies.effective_body(rule(settings, kind.name, target), settings.revision)

    async def effective_of_kinds(self, target: Scope, names: Sequence[str]) -> EffectiveAllBody:
        """Return the effective values of these kinds, and why others are unreadable.

        Raises `NotFound` where the project or domain does not exist.
        """
        settings = await self._shown()
        check_scope(settings, target)
        values: dict[str, EffectiveBody] = {}
        unreadable: dict[str, str] = {}
        for name in names:
            try:
                effective = settings.effective(name, target)
            except Unreadable as error:
                unreadable[name] = str(error)
            else:
                values[name] = bodies.effective_body(effective, settings.revision)
        return EffectiveAllBody(
            target=bodies.scope_body(target),
            kinds=values,
            unreadable=unreadable,
            revision=settings.revision,
        )

    async def export(self, caller: Caller, *, readable_only: bool) -> Export:
        """Return everything that the caller may read, of one revision. Raises `Unreadable`.

        A caller who may not read the whole platform gets records only, which it can apply again.
        """
        await self._shown()
        # A snapshot of very many records is as long as a few slices.
        await slices.turn()
        snapshot = documents.Snapshot.of(self._tree.unverified, self._tree.index)
        records: list[Record] = []
        async for entries in slices.of(snapshot.entries):
            records += snapshot.exported(entries, caller, readable_only=readable_only)
        entities = snapshot.entities if caller.may(Role.VIEWER) else ()
        return Export(snapshot.revision, entities, records)

    async def entities(self, type: EntityType[B, E]) -> Sequence[B]:
        """Return all entities of a type, by name."""
        names = sorted(type.stored(await self._shown()))
        found: list[B] = []
        async for part in slices.of(names):
            settings = self._tree.unverified
            # One that was deleted in the meantime is left out.
            stored = type.stored(settings)
            found += [_entity(settings, type, name) for name in part if name in stored]
        return found

    async def entity(self, type: EntityType[B, E], name: str) -> B:
        """Raises `NotFound`."""
        return _entity(await self._shown(), type, name)

    async def _shown(self) -> Settings:
        return await self._tree.shown(self._reading)


def _key(token: str) -> Key:
    """Return the key after which a page begins. Raises `Invalid`."""
    if not token:
        return START
    match paging.decode(token):
        case (str(kind), int(level), str(text)):
            return kind, level, text
        case _:
            raise paging.invalid_cursor(token)


def _listed(settings: Settings, entry: Entry) -> RecordBody:
    """Return a record as lists show it, which is also one that is not readable."""
    record = settings.records.get(entry.kind, {}).get(entry.scope)
    if record is not None:
        return bodies.record_body(record)
    version = settings.digest.revision_of(subjects.attributes(entry.kind, entry.scope)) or 0
    reasons = settings.unreadable.get(entry.kind, {})
    reason = reasons.get(entry.scope, "its kind is not installed here")
    return bodies.unreadable_body(entry.kind, entry.scope, version, reason)


def _entity(settings: Settings, type: EntityType[B, E], name: str) -> B:
    version = settings.digest.revision_of(type.subject(name))
    return type.to_body(type.find(settings, name), version)
