"""Fold the records of a chain into one effective value, each leaf with its provenance. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import JsonValue

from trimtab.kinds import Kind, Value
from trimtab.kinds.narrowing import Narrowing
from trimtab.levels import Scope


class UnsetPath(NamedTuple):
    """A path that a record lists in ``unset``."""

    path: str
    is_branch: bool
    """Whether the path is a group or a map, so that everything below it is unset too."""


class Source(NamedTuple):
    """The record that set a leaf, and the value that it set."""

    scope: Scope
    revision: int
    value: JsonValue
    """``None`` where the record unset the path."""


class Leaf(NamedTuple):
    """One leaf of an effective value, with its provenance."""

    value: JsonValue
    """``None`` where the record unset the path."""
    scope: Scope
    """The scope of the record that set or unset the path."""
    revision: int
    broader: "Leaf | None" = None
    """The leaf of the broader scopes, which this one overrode."""

    @property
    def source(self) -> Source:
        return Source(self.scope, self.revision, self.value)

    @property
    def overrode(self) -> tuple[Source, ...]:
        """The sources of broader scopes that this leaf overrode, narrowest first."""
        return () if self.broader is None else (self.broader.source, *self.broader.overrode)


@dataclass(frozen=True)
class Record:
    """The document of one kind stored at one scope, prepared for the fold."""

    kind: Kind
    scope: Scope
    revision: int
    flat: Mapping[str, JsonValue]
    """The values of the document by dotted path of a leaf or map key."""
    unset: tuple[UnsetPath, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of the record itself; they take no part in the fold."""
    implied: frozenset[str] = frozenset()
    """Paths of `unset` that the document does not list: `Kind.alternatives` that it excludes."""

    @classmethod
    def of(
        cls,
        kind: Kind,
        scope: Scope,
        revision: int,
        document: Mapping[str, Any],
        labels: Mapping[str, str] | None = None,
    ) -> "Record":
        """Make a record from a document that is written. Raises `trimtab.errors.Invalid`."""
        return cls._of_value(kind, scope, revision, kind.parse(dict(document), scope), labels)

    @classmethod
    def read(
        cls,
        kind: Kind,
        scope: Scope,
        revision: int,
        document: Mapping[str, Any],
        labels: Mapping[str, str],
    ) -> "Record":
        """Make a record from a document that is stored. Raises `trimtab.errors.Invalid`."""
        return cls._of_value(kind, scope, revision, kind.read(dict(document), scope), labels)

    @classmethod
    def _of_value(
        cls,
        kind: Kind,
        scope: Scope,
        revision: int,
        value: Value,
        labels: Mapping[str, str] | None,
    ) -> "Record":
        schema, stored = kind.schema, kind.to_document(value)
        implied = kind.implied_unset(stored) - set(value.unset)
        paths = (*value.unset, *sorted(implied))
        unset = tuple(UnsetPath(path, schema.is_branch(path)) for path in paths)
        return cls(kind, scope, revision, schema.flatten(stored), unset, labels or {}, implied)

    @property
    def narrowing(self) -> Mapping[str, Narrowing]:
        """The rules of the fields that the record can only narrow."""
        return self.kind.narrowing_at(self.scope)

    @cached_property
    def leaves(self) -> Mapping[str, Leaf]:
        """The leaves that the record alone folds into; every fold of the record shares them."""
        return {path: Leaf(value, self.scope, self.revision) for path, value in self.flat.items()}

    @cached_property
    def document(self) -> dict[str, Any]:
        """The document as it is stored."""
        return self.make_document()

    def make_document(self) -> dict[str, Any]:
        """Return the document, which is not kept as `document` is: for a pass over all records."""
        document = self.kind.schema.nest(self.flat)
        unset = self.listed_unset
        return document | ({"unset": unset} if unset else {})

    @property
    def listed_unset(self) -> list[str]:
        """The paths that the document lists in ``unset``."""
        return [path for path, _ in self.unset if path not in self.implied]


@dataclass(frozen=True, eq=False)
class Effective:
    """The value that applies to a target. It has no version, so nothing can write it back."""

    kind: Kind
    target: Scope
    leaves: Mapping[str, Leaf]
    """By dotted path; a path that was unset and not set again is included with value ``None``."""

    @cached_property
    def flat(self) -> dict[str, JsonValue]:
        """The leaves that have a value, by dotted path."""
        return {path: leaf.value for path, leaf in self.leaves.items() if leaf.value is not None}

    @cached_property
    def document(self) -> dict[str, Any]:
        return self.kind.schema.nest(self.flat)

    @cached_property
    def value(self) -> Value:
        return self.kind.value.model_validate(self.document)


def fold(kind: Kind, target: Scope, records: Iterable[Record]) -> Effective:
    """Fold records of the target's chain, which must come broadest first.

    For a leaf, the narrowest value wins. Maps are merged by key. A path in ``unset`` removes what
    broader scopes set, and narrower scopes may set it again. A record that unsets a map and sets
    keys of it replaces the map. A record below the platform can only narrow the fields in
    `Kind.narrowing`: where it restricts nothing, the broader leaf stays.
    """
    leaves: dict[str, Leaf] = {}
    unset_branches: set[str] = set()
    for record in records:
        scope, revision = record.scope, record.revision
        narrowing = record.narrowing
        # Made before the record unsets anything: a leaf overrides broader records, not its own.
        own = {}
        for path, leaf in record.leaves.items():
            broader = leaves.get(path)
            if broader is None and unset_branches:
                broader = _unset_branch(leaves, path, unset_branches)
            value = leaf.value
            if path in narrowing:
                value = narrowing[path].value(broader.value if broader else None, value)
                if value is None:
                    continue
            if broader is not None or value is not leaf.value:
                leaf = Leaf(value, scope, revision, broader)
            own[path] = leaf
        for path, is_branch in record.unset:
            if path in narrowing:
                continue
            removed = [path]
            if is_branch:
                removed += [known for known in leaves if known.startswith(path + ".")]
                unset_branches.add(path)
            for known in removed:
                broader = leaves.get(known) or _unset_branch(leaves, known, unset_branches)
                leaves[known] = Leaf(None, scope, revision, broader)
        leaves |= own
    return Effective(kind, target, leaves)


def _unset_branch(leaves: Mapping[str, Leaf], path: str, unset_branches: set[str]) -> Leaf | None:
    """Return the leaf of the innermost unset group or map that contains the path.

    A leaf that no broader scope set overrides the unsetting of its branch, where there is one.
    """
    containing = [known for known in unset_branches if path.startswith(known + ".")]
    return leaves[max(containing, key=len)] if containing else None
