"""Declarations that records and queues need: queues with certain tags, and clusters. Pure.

A queue may name only declared clusters. A record may be stored before the queue or the cluster that
it needs is declared, so that a missing one is only a warning.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pydantic import JsonValue

from trimtab import names
from trimtab.errors import Invalid
from trimtab.kinds import cluster_assignment, execution_cluster_label, execution_queue
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import ClusterChanged, QueueChanged
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin import steps
from trimtab_admin.settings.drafts import Draft, EntityEdit, in_document
from trimtab_admin.settings.entities import CLUSTERS, QUEUES, Entity, EntityType
from trimtab_admin.steps import Steps

_MAX_WARNINGS = 20
"""How many records of a draft have a warning of their own."""
_COMPARED = 5
"""How many warnings are made in one slice: each compares names with many others."""


class Declared(NamedTuple):
    """The parts of declarations that records need."""

    queues: Sequence[frozenset[str]]
    """The attributes of each queue."""
    labels: frozenset[str]
    """The labels of the clusters that executions may be assigned to."""

    @classmethod
    def of(cls, queues: Iterable[Entity], clusters: Iterable[Entity]) -> "Declared":
        return cls(
            [frozenset(q.attributes) for q in queues if isinstance(q, QueueChanged)],
            frozenset(
                label
                for cluster in clusters
                if isinstance(cluster, ClusterChanged) and cluster.enabled and cluster.weight > 0
                for label in cluster.labels
            ),
        )


class _Need(NamedTuple):
    """The need of a field of a kind."""

    path: str
    type: EntityType[Any, Any]
    """The type of what has to be declared."""
    is_met: Callable[[JsonValue, Declared], bool]
    warn: Callable[[JsonValue, Declared], str]


def check_clusters(named: Iterable[str], clusters: Iterable[str], settings: Settings) -> None:
    """Raise `Invalid` where a queue names a cluster that is not declared."""
    known = sorted(clusters)
    for index, name in enumerate(named):
        if name not in known and subjects.cluster(name) not in settings.later:
            declared = names.listed(known) or "none"
            allowed = f"a declared cluster, of which there are: {declared}"
            raise Invalid(f"clusters.{index}", name, allowed + names.question(name, known))


def judge(draft: Draft) -> Steps[None]:
    """Check the queues of a draft, and add warnings to its edits. Raises `Invalid`."""
    clusters = draft.entities_after(CLUSTERS)
    for edit in draft.entities.values():
        if isinstance(edit.after, QueueChanged) and not edit.after.deleted:
            _check_queue(edit, edit.after, clusters, draft.settings)
    after = Declared.of(draft.entities_after(QUEUES).values(), clusters.values())
    yield from _warn_of_records(draft, after)
    for type in (QUEUES, CLUSTERS):
        edited = [key for key, edit in draft.entities.items() if edit.type is type]
        if edited:
            warnings = yield from _lost(draft, type, after)
            first = draft.entities[edited[0]]
            draft.entities[edited[0]] = replace(first, warnings=tuple(warnings))


def _check_queue(
    edit: EntityEdit, queue: QueueChanged, clusters: Iterable[str], settings: Settings
) -> None:
    try:
        check_clusters(queue.clusters, clusters, settings)
    except Invalid as error:
        if edit.index is None:
            raise
        path = f"document.{error.path}"
        raise in_document(edit.index, Invalid(path, error.value, error.allowed)) from error


def _warn_of_records(draft: Draft, declared: Declared) -> Steps[None]:
    """Add a warning to each record of the draft whose need is not met, of many to the first."""

    def unmet(key: tuple[str, Scope]) -> bool:
        record = draft.records[key].after
        return record is not None and not _is_met(record, declared)

    keys = [key for key in draft.records if key[0] in _NEEDS]
    verdicts = yield from steps.each(unmet, keys)
    found = [key for key, is_unmet in zip(keys, verdicts, strict=True) if is_unmet]

    def add(key: tuple[str, Scope]) -> None:
        edit = draft.records[key]
        assert edit.after is not None, "a deleted record needs nothing"
        warning = _warning(edit.after, declared)
        draft.records[key] = replace(edit, warnings=(*edit.warnings, warning))

    yield from steps.each(add, found[:_MAX_WARNINGS], _COMPARED)
    if others := found[_MAX_WARNINGS:]:
        edit = draft.records[others[0]]
        warning = f"{len(others)} records need queues or clusters that are not declared"
        draft.records[others[0]] = replace(edit, warnings=(*edit.warnings, warning))


def _lost(draft: Draft, type: EntityType[Any, Any], after: Declared) -> Steps[list[str]]:
    """Return a warning for each kind of which records match nothing any more."""
    settings = draft.settings
    before = Declared.of(settings.queues.values(), settings.clusters.values())
    warnings = []
    for kind, need in _NEEDS.items():
        if need.type is not type:
            continue

        def is_lost(record: Record) -> bool:
            return _is_met(record, before) and not _is_met(record, after)

        records = _records_after(draft, kind)
        verdicts = yield from steps.each(is_lost, records)
        lost = [str(r.scope) for r, is_one in zip(records, verdicts, strict=True) if is_one]
        if lost:
            scopes = names.listed(sorted(lost))
            warnings.append(f"no {type.name} fits {kind} of these scopes any more: {scopes}")
    return warnings


def _records_after(draft: Draft, kind: str) -> Sequence[Record]:
    """Return the records of a kind that the draft leaves as they are."""
    stored = draft.settings.records.get(kind, {})
    return [record for scope, record in stored.items() if (kind, scope) not in draft.records]


def _is_met(record: Record, declared: Declared) -> bool:
    need = _NEEDS[record.kind.name]
    value = record.flat.get(need.path)
    return not value or need.is_met(value, declared)


def _warning(record: Record, declared: Declared) -> str:
    need = _NEEDS[record.kind.name]
    return f"{need.path}: {need.warn(record.flat[need.path], declared)}"


def _tags(value: JsonValue) -> Sequence[str]:
    return [str(tag) for tag in value] if isinstance(value, list | tuple) else []


def _has_queue(value: JsonValue, declared: Declared) -> bool:
    tags = _tags(value)
    return any(attributes.issuperset(tags) for attributes in declared.queues)


def _no_queue(value: JsonValue, declared: Declared) -> str:
    tags, known = _tags(value), sorted(frozenset[str]().union(*declared.queues))
    unknown = next((tag for tag in tags if tag not in known), "")
    return (
        f"no queue has all of {names.listed(tags)}, so executions go to no queue; attributes of "
        f"queues: {names.listed(known) or 'none'}{names.question(unknown, known)}"
    )


def _has_cluster(value: JsonValue, declared: Declared) -> bool:
    return value in declared.labels


def _no_cluster(value: JsonValue, declared: Declared) -> str:
    known = sorted(declared.labels)
    return (
        f"no enabled cluster of a positive weight has the label {value!r}; labels of such "
        f"clusters: {names.listed(known) or 'none'}{names.question(str(value), known)}"
    )


_NEEDS: Mapping[str, _Need] = {
    execution_queue.KIND.name: _Need("tags", QUEUES, _has_queue, _no_queue),
    execution_cluster_label.KIND.name: _Need("value", CLUSTERS, _has_cluster, _no_cluster),
    cluster_assignment.KIND.name: _Need("cluster_pool_name", CLUSTERS, _has_cluster, _no_cluster),
}
"""By the kind of records."""
