"""Compare effective values of Flyte before an import with those of Trimtab after it. Pure.

Flyte takes one row whole, where Trimtab folds field by field: a narrow row that lacks a field
inherits it here, and has no value there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from trimtab.api.settings import ChangedLeafBody, ScopeBody
from trimtab.kinds import Kind
from trimtab.levels import Level, Scope
from trimtab.models import Model
from trimtab.settings import flyte
from trimtab.settings.fold import Record, fold
from trimtab.settings.state import Settings

Flat = Mapping[str, JsonValue]
Records = dict[Scope, Record]


class Difference(Model):
    """A target whose effective value is another one in Trimtab than in Flyte."""

    kind: str
    target: ScopeBody
    changes: tuple[ChangedLeafBody, ...]
    """The fields that differ: ``before`` in Flyte, ``after`` in Trimtab."""
    keep_in: ScopeBody
    """The scope whose record keeps Flyte's value where it unsets or sets the fields."""

    @property
    def unset(self) -> list[str]:
        """The paths to list in ``unset``, so that they have no value, as in Flyte."""
        return [change.path for change in self.changes if change.before is None]

    @property
    def values(self) -> list[str]:
        """The paths to set to their values in Flyte."""
        return [change.path for change in self.changes if change.before is not None]


@dataclass
class Comparison:
    """The records of one kind on both sides."""

    kind: Kind
    flyte: Records = field(default_factory=dict)
    """Rows of Flyte, and its configuration as records of the platform and of domains."""
    trimtab: Records = field(default_factory=dict)
    """The records that Trimtab stores after the import."""

    def before(self, target: Scope) -> Flat:
        """Return the effective value by Flyte's rule."""
        settings = Settings(records={self.kind.name: self.flyte})
        return flyte.effective(settings, self.kind.name, target).flat

    def after(self, target: Scope) -> Flat:
        """Return the effective value in Trimtab, without the fields that Flyte does not have."""
        return self._folded(target.chain)

    def differences(self, targets: Sequence[Scope]) -> Iterator[Difference]:
        for target in targets:
            if not any(scope in self.flyte or scope in self.trimtab for scope in target.chain):
                continue
            if changes := _changes(self.before(target), self.after(target)):
                kept = ScopeBody.of(self._narrowest_row(target))
                body = ScopeBody.of(target)
                yield Difference(kind=self.kind.name, target=body, changes=changes, keep_in=kept)

    def kept(self, record: Record, domains: Sequence[str]) -> Record:
        """Return the record with what gives its scope Flyte's effective value, if it is a row.

        It unsets what Flyte does not inherit, and sets what Flyte takes from elsewhere.
        """
        kind, scope = self.kind, record.scope
        assert kind.flyte is not None
        if scope.level not in kind.flyte.record_levels:
            return record
        wanted = self.before(scope)
        broader = dict(self._folded(scope.chain[:-1]))
        inherited = set(broader)
        if scope.level is Level.PROJECT:
            # A project overrides the domains too, which are not in its own chain.
            for domain in domains:
                inherited |= self._folded((*scope.chain[:-1], Scope(domain=domain))).keys()
        gone = [path for path in inherited if path not in wanted]
        maps = {holder for path in gone if (holder := kind.schema.map_of(path))}
        values = {
            path: value
            for path, value in wanted.items()
            if path in record.flat or broader.get(path) != value or kind.schema.map_of(path) in maps
        }
        native = {path: value for path, value in record.flat.items() if self._is_native(path)}
        unset = {*record.listed_unset, *maps, *(p for p in gone if not kind.schema.map_of(p))}
        unset = {path for path in unset - values.keys() if path not in record.implied}
        inner = {path for path in unset if not unset.isdisjoint(kind.schema.branches(path))}
        document = kind.schema.nest({**values, **native})
        if unset - inner:
            document["unset"] = sorted(unset - inner)
        return Record.of(kind, scope, record.revision, document, record.labels)

    def _folded(self, scopes: Sequence[Scope]) -> Flat:
        records = [self.trimtab[scope] for scope in scopes if scope in self.trimtab]
        flat = fold(self.kind, scopes[-1], records).flat
        return {path: value for path, value in flat.items() if not self._is_native(path)}

    def _is_native(self, path: str) -> bool:
        assert self.kind.flyte is not None
        return path.partition(".")[0] in self.kind.flyte.native_fields

    def _narrowest_row(self, target: Scope) -> Scope:
        assert self.kind.flyte is not None
        levels = self.kind.flyte.record_levels
        rows = [scope for scope in target.chain if scope in self.flyte and scope.level in levels]
        return rows[-1] if rows else target


def _changes(before: Flat, after: Flat) -> tuple[ChangedLeafBody, ...]:
    return tuple(
        ChangedLeafBody(path=path, before=before.get(path), after=after.get(path))
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    )
