"""The chain's records of one kind folded into one value, each field with its provenance. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import JsonValue

from trimtab.kinds import Kind, Value
from trimtab.levels import Scope


class Unset(NamedTuple):
    """A path of a record's ``unset``."""

    path: str
    whole: bool
    """Whether it stands for everything below the path."""


class Source(NamedTuple):
    """Where a value was said, and which value that was."""

    scope: Scope
    revision: int
    value: JsonValue
    """``None`` where it was unset."""


class Leaf(NamedTuple):
    """One field of an effective value."""

    value: JsonValue
    """``None`` where the record it came from unset it."""
    scope: Scope
    revision: int
    before: "Leaf | None" = None
    """What it was when only broader scopes were folded."""

    @property
    def source(self) -> Source:
        return Source(self.scope, self.revision, self.value)

    @property
    def overrode(self) -> tuple[Source, ...]:
        """What broader scopes said, nearest first."""
        return () if self.before is None else (self.before.source, *self.before.overrode)


@dataclass(frozen=True)
class Record:
    """What is stored for one kind at one scope, made ready for the fold."""

    kind: Kind
    scope: Scope
    revision: int
    leaves: Mapping[str, JsonValue]
    """Value by dotted path of a leaf or map key."""
    unset: tuple[Unset, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the record itself; they take no part in the fold."""
    implied: frozenset[str] = frozenset()
    """Paths of `unset` that the document does not list: `Kind.alternatives` of what it gives."""

    @classmethod
    def of(
        cls,
        kind: Kind,
        scope: Scope,
        revision: int,
        document: Mapping[str, Any],
        labels: Mapping[str, str] | None = None,
    ) -> "Record":
        """From a stored document. Raises `trimtab.errors.Invalid`."""
        value = kind.parse(dict(document), scope)
        schema, stored = kind.schema, kind.stored(value)
        implied = kind.implied(stored) - set(value.unset)
        gone = (*value.unset, *sorted(implied))
        unset = tuple(Unset(path, schema.is_whole(path)) for path in gone)
        return cls(kind, scope, revision, schema.flatten(stored), unset, labels or {}, implied)

    @cached_property
    def said(self) -> Mapping[str, Leaf]:
        """What the record comes to where nothing broader is stored: made once, for every fold."""
        return {path: Leaf(value, self.scope, self.revision) for path, value in self.leaves.items()}

    @cached_property
    def document(self) -> dict[str, Any]:
        """As stored."""
        document = self.kind.schema.nest(self.leaves)
        unset = [path for path, _ in self.unset if path not in self.implied]
        return document | ({"unset": unset} if unset else {})


@dataclass(frozen=True, eq=False)
class Effective:
    """What applies to a target. It has no version, so it cannot be written back by mistake."""

    kind: Kind
    target: Scope
    leaves: Mapping[str, Leaf]
    """By dotted path; a path that was unset and not set again is kept, with the value ``None``."""

    @cached_property
    def flat(self) -> dict[str, JsonValue]:
        """Only what has a value."""
        return {path: leaf.value for path, leaf in self.leaves.items() if leaf.value is not None}

    @cached_property
    def document(self) -> dict[str, Any]:
        return self.kind.schema.nest(self.flat)

    @cached_property
    def value(self) -> Value:
        return self.kind.value.model_validate(self.document)


def fold(kind: Kind, target: Scope, records: Iterable[Record]) -> Effective:
    """Fold records of the target's chain, which must come broadest first.

    Leaves: the narrowest value wins. Maps: merged by key. Unset: what broader scopes said is gone,
    and narrower ones may say it again.
    """
    leaves: dict[str, Leaf] = {}
    wholes: set[str] = set()
    for record in records:
        scope, revision = record.scope, record.revision
        for path, whole in record.unset:
            gone = [path]
            if whole:
                gone += [known for known in leaves if known.startswith(path + ".")]
                wholes.add(path)
            for known in gone:
                before = leaves.get(known) or _around(leaves, known, wholes)
                leaves[known] = Leaf(None, scope, revision, before)
        for path, leaf in record.said.items():
            before = leaves.get(path)
            if before is None and wholes:
                before = _around(leaves, path, wholes)
            if before is not None:
                leaf = Leaf(leaf.value, scope, revision, before)
            leaves[path] = leaf
    return Effective(kind, target, leaves)


def _around(leaves: Mapping[str, Leaf], path: str, wholes: set[str]) -> Leaf | None:
    """The narrowest whole around a path that was unset, for a path of which nothing was said."""
    around = [whole for whole in wholes if path.startswith(whole + ".")]
    return leaves[max(around, key=len)] if around else None
