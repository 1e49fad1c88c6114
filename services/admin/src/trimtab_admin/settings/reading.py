"""Reads of records, effective values and entities, answered from the settings in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from trimtab.api.settings import ApplyBody, EffectiveAllBody, EffectiveBody, RecordBody
from trimtab.errors import NotFound, Unreadable
from trimtab.kinds import Kind
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin import paging
from trimtab_admin.access.authorization import Caller, Role
from trimtab_admin.paging import Key, Page
from trimtab_admin.settings import bodies, documents, flyte
from trimtab_admin.settings.drafts import readable_record
from trimtab_admin.settings.entities import B, E, EntityType, check_scope
from trimtab_admin.storage.database import Sessions
from trimtab_admin.storage.tree import Tree


class ListedRecord(NamedTuple):
    """A stored record in a list, which shows unreadable records too."""

    kind: str
    scope: Scope
    record: Record | str
    """The reason, where the record is not readable."""

    def body(self, settings: Settings) -> RecordBody:
        if isinstance(self.record, Record):
            return bodies.record_body(self.record)
        version = settings.digest.revision_of(subjects.attributes(self.kind, self.scope))
        return bodies.unreadable_body(self.kind, self.scope, version or 0, self.record)


@dataclass(frozen=True)
class RecordFilter:
    """Selects records that the caller may read; an empty field selects any value."""

    caller: Caller
    kind: str = ""
    level: str = ""
    domain: str = ""
    project: str = ""
    workflow: str = ""
    launch_plan: str = ""

    def selects(self, record: ListedRecord) -> bool:
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


class Reader:
    """Answers reads from the newest settings."""

    def __init__(self, reading: Sessions, tree: Tree) -> None:
        self._reading = reading
        self._tree = tree

    async def records(self, filter: RecordFilter, token: str, limit: int) -> Page[RecordBody]:
        """Return records by kind, then from broad to narrow. Raises `Invalid` on the token."""
        settings = await self._latest()
        selected = [record for record in _all_records(settings) if filter.selects(record)]
        page = paging.cut(sorted(selected, key=_key), _key, token, limit)
        return Page([record.body(settings) for record in page.items], page.cursor)

    async def record(self, kind: Kind, scope: Scope) -> RecordBody:
        """Raises `NotFound` and `Unreadable`."""
        record = readable_record(await self._latest(), kind, scope)
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
        settings = await self._latest()
        check_scope(settings, target)
        return bodies.effective_body(rule(settings, kind.name, target), settings.revision)

    async def effective_of_kinds(self, target: Scope, names: Sequence[str]) -> EffectiveAllBody:
        """Return the effective values of these kinds, and why others are unreadable.

        Raises `NotFound` where the project or domain does not exist.
        """
        settings = await self._latest()
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

    async def export(self, caller: Caller, *, readable_only: bool) -> ApplyBody:
        """Return everything that the caller may read as documents. Raises `Unreadable`."""
        settings = await self._latest()
        exported = documents.export(settings, caller, readable_only=readable_only)
        return ApplyBody(documents=tuple(exported))

    async def entities(self, type: EntityType[B, E]) -> Sequence[B]:
        """Return all entities of a type, by name."""
        settings = await self._latest()
        return [_entity(settings, type, name) for name in sorted(type.stored(settings))]

    async def entity(self, type: EntityType[B, E], name: str) -> B:
        """Raises `NotFound`."""
        return _entity(await self._latest(), type, name)

    async def _latest(self) -> Settings:
        return await self._tree.latest(self._reading)


def _all_records(settings: Settings) -> Iterator[ListedRecord]:
    for kind, records in settings.records.items():
        for scope, record in records.items():
            yield ListedRecord(kind, scope, record)
    for kind, reasons in settings.unreadable.items():
        for scope, reason in reasons.items():
            yield ListedRecord(kind, scope, reason)
    for kind, unknown in settings.unknown.items():
        for scope in unknown:
            yield ListedRecord(kind, scope, "its kind is not installed here")


def _key(record: ListedRecord) -> Key:
    return record.kind, int(record.scope.level), str(record.scope)


def _entity(settings: Settings, type: EntityType[B, E], name: str) -> B:
    version = settings.digest.revision_of(type.subject(name))
    return type.to_body(type.find(settings, name), version)
