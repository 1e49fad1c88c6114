"""The settings in memory: admin answers from them, and every view holds them. Pure."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from trimtab import kinds
from trimtab.errors import Invalid, NotFound, Unreadable
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import (
    ClusterChanged,
    DomainChanged,
    Event,
    LaterChange,
    PoolChanged,
    ProjectChanged,
    PruneChanged,
    QueueChanged,
    RecordChanged,
    settings_subject,
    tombstone,
)
from trimtab.settings.fold import Effective, Record, fold

ANY_POOL = "*"
"""The name of the pool whose declaration applies to each pool that is not declared itself."""

CACHE_SIZE = 4096
"""Effective values of a kind that are cached: a few MiB, more than are in use at once."""

ProjectDomain = tuple[str, str]
"""The domain and the project of a scope, in this order; either is empty where it is not set."""

E = TypeVar(
    "E",
    ProjectChanged,
    DomainChanged,
    ClusterChanged,
    PoolChanged,
    QueueChanged,
    PruneChanged,
)


class Digest:
    """The sum of a hash for each live subject and its revision; equal digests prove equal views.

    A sum does not depend on the order of changes, and a subject's hash can be subtracted again.
    """

    def __init__(self) -> None:
        self._sum = 0
        self._revisions: dict[str, int] = {}

    def copy(self) -> "Digest":
        copied = Digest()
        copied._sum = self._sum
        copied._revisions = dict(self._revisions)
        return copied

    def put(self, subject: str, revision: int) -> None:
        self.drop(subject)
        self._revisions[subject] = revision
        self._sum = (self._sum + _hash(subject, revision)) % 2**64

    def drop(self, subject: str) -> None:
        revision = self._revisions.pop(subject, None)
        if revision is not None:
            self._sum = (self._sum - _hash(subject, revision)) % 2**64

    def revision_of(self, subject: str) -> int | None:
        """Return the revision that wrote the subject; ``None`` where the subject is not live."""
        return self._revisions.get(subject)

    @property
    def count(self) -> int:
        return len(self._revisions)

    def __str__(self) -> str:
        return f"{self._sum:016x}"


def _hash(subject: str, revision: int) -> int:
    digest = hashlib.blake2b(f"{subject} {revision}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)


class EffectiveCache:
    """Effective values of one kind, valid until a record of the kind changes.

    A value is cached at the second request for its target. A pass over all targets requests each
    once: caching its values would cost the garbage collector more than it saves, and would evict
    the values that are in use.
    """

    def __init__(self) -> None:
        self._values: dict[Scope, Effective] = {}
        self._requested: set[int] = set()
        """Hashes of requested targets. A collision only caches a value at its first request."""

    def get(self, target: Scope) -> Effective | None:
        return self._values.get(target)

    def put(self, effective: Effective) -> None:
        """Cache the value, or at the first request for its target, note the target.

        A full table is emptied: that needs no bookkeeping in `get`, which is called far more often.
        """
        target_hash = hash(effective.target)
        if target_hash not in self._requested:
            if len(self._requested) >= CACHE_SIZE:
                self._requested.clear()
            self._requested.add(target_hash)
            return
        if len(self._values) >= CACHE_SIZE:
            self._values.clear()
        self._values[effective.target] = effective


@dataclass
class Settings:
    """The live state of the SETTINGS stream after some revision."""

    revision: int = 0
    """The revision of the last change that was applied."""
    records: dict[str, dict[Scope, Record]] = field(default_factory=dict)
    """By kind and scope."""
    by_project_domain: dict[str, dict[ProjectDomain, dict[Scope, Record]]] = field(
        default_factory=dict
    )
    """The same records by kind, project-domain and scope, to find those of one project-domain."""
    launch_plans: dict[str, dict[Scope, dict[Scope, Record]]] = field(default_factory=dict)
    """The records of launch plans by kind, workflow and scope, to find those of one workflow."""
    unreadable: dict[str, dict[Scope, str]] = field(default_factory=dict)
    """The reason why a record of an installed kind could not be parsed, by kind and scope."""
    unknown: dict[str, dict[Scope, RecordChanged]] = field(default_factory=dict)
    """Events of records of kinds that are not installed here, unparsed, by kind and scope."""
    projects: dict[str, ProjectChanged] = field(default_factory=dict)
    domains: dict[str, DomainChanged] = field(default_factory=dict)
    clusters: dict[str, ClusterChanged] = field(default_factory=dict)
    pools: dict[str, PoolChanged] = field(default_factory=dict)
    queues: dict[str, QueueChanged] = field(default_factory=dict)
    prunes: dict[str, PruneChanged] = field(default_factory=dict)
    """Confirmations, by cluster and namespace as `PruneChanged.name` joins them."""
    later: dict[str, LaterChange] = field(default_factory=dict)
    """Live changes that only a later release knows, by subject."""
    digest: Digest = field(default_factory=Digest)
    _caches: dict[str, EffectiveCache] = field(
        default_factory=dict, repr=False, compare=False, init=False
    )
    """By kind. Only records take part in the fold, so other changes invalidate no cache."""

    def apply(self, event: Event, revision: int, parsed: Record | None = None) -> None:
        """Apply one change. Changes must come in the order of their revisions.

        ``parsed`` is the record of the event, of whatever revision, where it is known already.
        """
        subject = settings_subject(event)
        self.later.pop(subject, None)
        match event:
            case RecordChanged():
                self._apply_record(event, subject, revision, parsed)
            case ProjectChanged():
                self._put(self.projects, event, subject, revision)
            case DomainChanged():
                self._put(self.domains, event, subject, revision)
            case ClusterChanged():
                self._put(self.clusters, event, subject, revision)
            case PoolChanged():
                self._put(self.pools, event, subject, revision)
            case QueueChanged():
                self._put(self.queues, event, subject, revision)
            case PruneChanged():
                self._put(self.prunes, event, subject, revision)
            case LaterChange():
                self._apply_later(event, revision)
        self.revision = max(self.revision, revision)

    def chain(self, kind: str, target: Scope) -> list[Record]:
        """Return the records that apply to a target, broadest first.

        Raises `Unreadable`, which names the record, where one of them could not be parsed.
        """
        if unreadable := self.unreadable.get(kind):
            for scope in target.chain:
                if scope in unreadable:
                    reason = unreadable[scope]
                    raise Unreadable(f"the {kind} record of {scope} is not readable: {reason}")
        stored = self.records.get(kind, {})
        return [record for scope in target.chain if (record := stored.get(scope)) is not None]

    def effective(self, kind: str, target: Scope) -> Effective:
        """Return the effective value of a kind at a target.

        Raises `NotFound` on an unknown kind, and `Unreadable` as `chain` does.
        """
        cache = self._caches.get(kind)
        value = None if cache is None else cache.get(target)
        if value is None:
            value = fold(kinds.by_name(kind), target, self.chain(kind, target))
            self._caches.setdefault(kind, EffectiveCache()).put(value)
        return value

    def pool(self, name: str) -> PoolChanged:
        """Return the declared pool, or `ANY_POOL` under the name.

        Raises `NotFound`, and `Unreadable` where only a later release knows its declaration.
        """
        pool = self.pools.get(name)
        if pool is not None:
            return pool
        if self.later and subjects.pool(name) in self.later:
            raise Unreadable(f"the pool {name!r} was declared by a later release")
        if (default := self.pools.get(ANY_POOL)) is not None:
            return default.model_copy(update={"name": name})
        raise NotFound("pool", name, ", ".join(sorted(self.pools)))

    def queues_with(self, tags: Collection[str]) -> list[QueueChanged]:
        """Return the queues whose attributes hold all of the tags, in the order of names."""
        wanted = frozenset(tags)
        found = (queue for _, queue in sorted(self.queues.items()))
        return [queue for queue in found if wanted.issubset(queue.attributes)]

    def _apply_later(self, event: LaterChange, revision: int) -> None:
        """Keep the change, and remove what the subject was before it."""
        former = tombstone(event.subject)
        if not isinstance(former, LaterChange):
            self.apply(former, revision)
        if event.deleted:
            self.digest.drop(event.subject)
            return
        self.later[event.subject] = event
        self.digest.put(event.subject, revision)
        if isinstance(former, RecordChanged) and former.kind in kinds.registered():
            reason = "it was written by a later release"
            self.unreadable.setdefault(former.kind, {})[former.scope] = reason

    def _apply_record(
        self, event: RecordChanged, subject: str, revision: int, parsed: Record | None
    ) -> None:
        scope = event.scope
        # The whole cache of the kind: finding the values below the scope would take longer than
        # folding them again.
        self._caches.pop(event.kind, None)
        for by_kind in (self.records, self.unreadable, self.unknown):
            by_kind.get(event.kind, {}).pop(scope, None)
        for group in self._groups(event.kind, scope):
            group.pop(scope, None)
        if event.document is None:
            self.digest.drop(subject)
            return
        self.digest.put(subject, revision)
        if parsed is not None:
            self._put_record(event.kind, replace(parsed, revision=revision))
            return
        kind = kinds.registered().get(event.kind)
        if kind is None:
            self.unknown.setdefault(event.kind, {})[scope] = event
            return
        try:
            record = Record.read(kind, scope, revision, event.document, event.labels)
        except Invalid as error:
            self.unreadable.setdefault(event.kind, {})[scope] = str(error)
        else:
            self._put_record(event.kind, record)

    def _put_record(self, kind: str, record: Record) -> None:
        self.records.setdefault(kind, {})[record.scope] = record
        for group in self._groups(kind, record.scope):
            group[record.scope] = record

    def _groups(self, kind: str, scope: Scope) -> Iterator[dict[Scope, Record]]:
        """Yield the groups that a record of the scope is in."""
        in_kind = self.by_project_domain.setdefault(kind, {})
        yield in_kind.setdefault((scope.domain, scope.project), {})
        if scope.launch_plan:
            yield self.launch_plans.setdefault(kind, {}).setdefault(scope.chain[-2], {})

    def _put(self, entities: dict[str, E], event: E, subject: str, revision: int) -> None:
        if event.deleted:
            entities.pop(event.name, None)
            self.digest.drop(subject)
        else:
            entities[event.name] = event
            self.digest.put(subject, revision)
