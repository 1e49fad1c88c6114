"""The settings as a tree in memory: what admin serves from and what every reader holds. Pure."""

import hashlib
from dataclasses import dataclass, field
from typing import TypeVar

from trimtab import kinds
from trimtab.errors import Invalid, NotFound, Unreadable
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import (
    ClusterChanged,
    DomainChanged,
    Event,
    PoolChanged,
    ProjectChanged,
    RecordChanged,
)
from trimtab.settings.fold import Effective, Record, fold

ANY_POOL = "*"
"""The name of the pool that says what holds of each one that nobody has declared."""

WARM = 4096
"""Effective values of a kind that are kept: a few MiB, for more targets than are busy at a time."""

Place = tuple[str, str]
"""The domain and the project of a scope; empty where it is in no particular one."""

E = TypeVar("E", ProjectChanged, DomainChanged, ClusterChanged, PoolChanged)


class Digest:
    """Proof that two views are equal: the sum of a hash for each live subject and its revision.

    A sum does not depend on order, and what was added can be taken out again.
    """

    def __init__(self) -> None:
        self._sum = 0
        self._revisions: dict[str, int] = {}

    def put(self, subject: str, revision: int) -> None:
        self.drop(subject)
        self._revisions[subject] = revision
        self._sum = (self._sum + _hash(subject, revision)) % 2**64

    def drop(self, subject: str) -> None:
        revision = self._revisions.pop(subject, None)
        if revision is not None:
            self._sum = (self._sum - _hash(subject, revision)) % 2**64

    def revision_of(self, subject: str) -> int | None:
        """The version of what lives at a subject; ``None`` where nothing does."""
        return self._revisions.get(subject)

    @property
    def count(self) -> int:
        return len(self._revisions)

    def __str__(self) -> str:
        return f"{self._sum:016x}"


def _hash(subject: str, revision: int) -> int:
    digest = hashlib.blake2b(f"{subject} {revision}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)


class Warm:
    """Effective values of one kind, for as long as no record of it changes.

    Only what is asked for twice is kept. A pass over everything, which asks once, would give the
    garbage collector more to do than it spares, and push out what is in use.
    """

    def __init__(self) -> None:
        self._kept: dict[Scope, Effective] = {}
        self._asked: set[int] = set()
        """Hashes of targets. Of two that share one, a value is only kept too early."""

    def get(self, target: Scope) -> Effective | None:
        return self._kept.get(target)

    def put(self, effective: Effective) -> None:
        """Full, each starts over: that needs no bookkeeping in the reads, which are many."""
        mark = hash(effective.target)
        if mark not in self._asked:
            if len(self._asked) >= WARM:
                self._asked.clear()
            self._asked.add(mark)
            return
        if len(self._kept) >= WARM:
            self._kept.clear()
        self._kept[effective.target] = effective


@dataclass
class Settings:
    """Everything that SETTINGS says, after some revision."""

    revision: int = 0
    """The last change taken in."""
    records: dict[str, dict[Scope, Record]] = field(default_factory=dict)
    """By kind and scope."""
    places: dict[str, dict[Place, dict[Scope, Record]]] = field(default_factory=dict)
    """The same records by kind, then by domain and project: most belong to few of many."""
    unreadable: dict[str, dict[Scope, str]] = field(default_factory=dict)
    """Why a record of a known kind could not be parsed, by kind and scope."""
    unknown: dict[str, dict[Scope, RecordChanged]] = field(default_factory=dict)
    """Records of kinds that are not installed here, as they came."""
    projects: dict[str, ProjectChanged] = field(default_factory=dict)
    domains: dict[str, DomainChanged] = field(default_factory=dict)
    clusters: dict[str, ClusterChanged] = field(default_factory=dict)
    pools: dict[str, PoolChanged] = field(default_factory=dict)
    digest: Digest = field(default_factory=Digest)
    _warm: dict[str, Warm] = field(default_factory=dict, repr=False, compare=False, init=False)
    """By kind. What is no record takes no part in the fold, and so may change."""

    def apply(self, event: Event, revision: int) -> None:
        """Take one change in. Changes come in the order of their revisions."""
        match event:
            case RecordChanged():
                self._apply_record(event, revision)
            case ProjectChanged():
                self._put(self.projects, event, subjects.project(event.name), revision)
            case DomainChanged():
                self._put(self.domains, event, subjects.domain(event.name), revision)
            case ClusterChanged():
                self._put(self.clusters, event, subjects.cluster(event.name), revision)
            case PoolChanged():
                self._put(self.pools, event, subjects.pool(event.name), revision)
            case _:
                raise TypeError(f"{event.event_type} is not a change of the settings")
        self.revision = max(self.revision, revision)

    def chain(self, kind: str, target: Scope) -> list[Record]:
        """Records that apply, broadest first. Raises `Unreadable`, naming the record."""
        if unreadable := self.unreadable.get(kind):
            for scope in target.chain:
                if scope in unreadable:
                    reason = unreadable[scope]
                    raise Unreadable(f"the {kind} record of {scope} is not readable: {reason}")
        stored = self.records.get(kind, {})
        return [record for scope in target.chain if (record := stored.get(scope)) is not None]

    def effective(self, kind: str, target: Scope) -> Effective:
        """Raises `NotFound` on an unknown kind and `Unreadable`."""
        warm = self._warm.get(kind)
        found = None if warm is None else warm.get(target)
        if found is None:
            found = fold(kinds.by_name(kind), target, self.chain(kind, target))
            self._warm.setdefault(kind, Warm()).put(found)
        return found

    def pool(self, name: str) -> PoolChanged:
        """As declared, or as pools are that nobody has declared. Raises `NotFound`."""
        pool = self.pools.get(name)
        if pool is not None:
            return pool
        if (default := self.pools.get(ANY_POOL)) is not None:
            return default.model_copy(update={"name": name})
        raise NotFound("pool", name, ", ".join(sorted(self.pools)))

    def _apply_record(self, event: RecordChanged, revision: int) -> None:
        scope = event.scope
        # All of the kind: to find those below the scope takes longer than to fold them again.
        self._warm.pop(event.kind, None)
        for by_kind in (self.records, self.unreadable, self.unknown):
            by_kind.get(event.kind, {}).pop(scope, None)
        place = self.places.setdefault(event.kind, {}).setdefault((scope.domain, scope.project), {})
        place.pop(scope, None)
        subject = subjects.attributes(event.kind, scope)
        if event.document is None:
            self.digest.drop(subject)
            return
        self.digest.put(subject, revision)
        kind = kinds.registered().get(event.kind)
        if kind is None:
            self.unknown.setdefault(event.kind, {})[scope] = event
            return
        try:
            record = Record.of(kind, scope, revision, event.document, event.labels)
        except Invalid as error:
            self.unreadable.setdefault(event.kind, {})[scope] = str(error)
        else:
            self.records.setdefault(event.kind, {})[scope] = place[scope] = record

    def _put(self, place: dict[str, E], event: E, subject: str, revision: int) -> None:
        if event.deleted:
            place.pop(event.name, None)
            self.digest.drop(subject)
        else:
            place[event.name] = event
            self.digest.put(subject, revision)
