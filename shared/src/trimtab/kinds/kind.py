"""The registration of a kind, from which all its interfaces are made. Pure."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from trimtab import names, texts
from trimtab.errors import Invalid, UnknownField
from trimtab.kinds.flyte import FlyteKind
from trimtab.kinds.narrowing import Narrowing
from trimtab.kinds.schema import Schema, fields_at
from trimtab.levels import Level, Scope
from trimtab.wrong_values import allowed_instead


class KindModel(BaseModel):
    """Base of the models that fields of a kind hold."""

    # Strict: "5" instead of 5, or 1 instead of true, may be a mistake that only its author can see.
    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True
    )


class Value(KindModel):
    """Base of the model of a kind: every field is optional, and none is null when stored.

    A field is absent (inherited), present (set), or listed in `unset` (it has no value here;
    inheritance stops, and a narrower level may set it again). A map may be both listed and present:
    inheritance stops, and its keys are the whole value.
    """

    unset: tuple[str, ...] = Field(default=(), strict=False)
    """Dotted paths of fields, groups or map keys that inherit nothing and have no value here, and
    of maps that inherit no key. A path can be written as the list of its keys instead."""


@dataclass(frozen=True)
class Problem:
    """The reason why an effective value is refused: the field, its value, and what is allowed."""

    path: str
    value: JsonValue
    allowed: str
    bound: str = ""
    """Path of the field that limits the value; empty where no field does."""


_NO_RULES: Mapping[str, Narrowing] = {}


@dataclass(frozen=True)
class Kind:
    """A type of customizable resource, and everything that its interfaces are made from."""

    name: str
    value: type[Value]
    levels: frozenset[Level]
    noun: str
    """The name of the kind on the command line: ``trimtab get <noun>``."""
    summary: str
    sample: Mapping[str, Any] = field(default_factory=dict)
    """A document that shows what a record may look like; empty: `forms.sample` makes one."""
    other_nouns: tuple[str, ...] = ()
    """Other names that the command line accepts."""
    flyte: FlyteKind | None = None
    """Everything that is specific to Flyte 1; ``None`` where Flyte does not have the kind."""
    refused_levels: Mapping[Level, str] = field(default_factory=dict)
    """The reasons why levels that users may expect are refused."""
    field_levels: Mapping[str, frozenset[Level]] = field(default_factory=dict)
    """Top-level fields that may be set at fewer levels than the kind."""
    alternatives: frozenset[str] = frozenset()
    """Fields of which a record may set only one; it unsets the others of broader records."""
    narrowing: Mapping[str, Narrowing] = field(default_factory=dict)
    """Top-level fields that a record below the platform can only narrow, each with its rule.

    An empty list is a value of such a field."""
    deprecated: Mapping[str, str] = field(default_factory=dict)
    """Deprecated paths that are still accepted, with the paths that replace them."""
    from_file: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    """Convert the fields of an attribute file, in Flyte's shape or ours, into a document.

    Unknown fields stay unchanged, for `parse` to refuse. It raises `Invalid` where a shape has no
    meaning."""
    to_file: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    """Convert a stored document into the shape that Flyte's tools write.

    `from_file` of the result is the document, apart from defaults that these tools leave out."""
    likely_mistakes: Callable[[Mapping[str, Any]], Iterable[str]] = lambda _document: ()
    """Find what is accepted in a valid document, or in a patch of one, although its author may mean
    something else. Each text becomes a warning."""
    check_written: Callable[[Value], None] = lambda _value: None
    """Raise `Invalid` on what a record may not hold, although stored ones may."""
    validate: Callable[[Mapping[str, JsonValue]], Iterable[Problem]] = lambda _flat: ()
    """Find problems of an effective value, given by path of leaf or map key.

    Called for every scope that a change affects."""

    @cached_property
    def schema(self) -> Schema:
        return Schema.of(self.value)

    def parse(self, document: object, scope: Scope) -> Value:
        """Parse a document that is written at a scope.

        Raises `Invalid`, which names the first wrong field.
        """
        value = self.read(document, scope)
        for path in _nulls(value, ""):
            raise Invalid(path, None, "a value, or no such field")
        texts.check(value)
        self._check_narrowed(value.unset, scope)
        self.check_written(value)
        return value

    def read(self, document: object, scope: Scope) -> Value:
        """Parse a stored document.

        As `parse`, but a text may hold every character, and fields of the items of a list may be
        null.
        """
        if not isinstance(document, dict):
            raise Invalid(self.name, document, "an object with the fields of the kind")
        self._check_level(scope)
        self._check_no_null(document, "")
        document = self.rename_deprecated(document)
        try:
            value = self.value.model_validate(document)
        except ValidationError as error:
            raise self._invalid(error) from error
        self._check_unset(value.unset, self.schema.flatten(document))
        self._check_alternatives(document)
        self._check_field_levels((*document, *value.unset), scope)
        return value

    def to_document(self, value: Value) -> dict[str, Any]:
        """Return the document to store: every field that is set.

        Empty groups, maps and lists are left out, except lists of `narrowing`; empty text, 0 and
        false are values.
        """
        document = value.model_dump(mode="json", exclude_unset=True)
        return _without_empty(document, self.narrowing)

    def rename_deprecated(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Replace deprecated paths, and lists of keys in `unset`, in a document or a patch of one.

        Raises `Invalid` where a field is set under both its names, and on a list that is no path.
        """
        renamed = dict(document)
        for old, new in self.deprecated.items():
            *groups, old_name = old.split(".")
            holder = _copy_inner(renamed, groups)
            if holder is not None and old_name in holder:
                new_name = new.rpartition(".")[2]
                if new_name in holder:
                    raise Invalid(old, holder[old_name], f"only {new}, its current name")
                holder[new_name] = holder.pop(old_name)
        if isinstance(unset := renamed.get("unset"), list | tuple):
            paths = [self._unset_path(index, entry) for index, entry in enumerate(unset)]
            renamed["unset"] = [self.deprecated.get(path, path) for path in paths]
        return renamed

    def _unset_path(self, index: int, entry: object) -> str:
        """Return the dotted path of an entry of `unset`, which may be a list of keys instead."""
        if isinstance(entry, str):
            return entry
        keys = entry if isinstance(entry, list | tuple) else ()
        deprecated = (path for path in self.deprecated if path.split(".") == list(keys))
        path = next(deprecated, None) or self.schema.path(keys)
        if path is None:
            raise Invalid(f"unset.{index}", entry, "a dotted path, or the list of its keys")
        return path

    def warnings(self, document: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the warnings for the author of a valid document, or of a patch of one."""
        deprecated = (
            f"{old} is deprecated and was read as {new}"
            for old, new in self.deprecated.items()
            if _has_path(document, old.split("."))
            or any(entry in (old, old.split(".")) for entry in document.get("unset") or ())
        )
        return (*deprecated, *self.likely_mistakes(self.rename_deprecated(document)))

    def narrowing_at(self, scope: Scope) -> Mapping[str, Narrowing]:
        """Return the rules of the fields that a record at the scope can only narrow."""
        return self.narrowing if self.narrowing and scope.level > Level.PLATFORM else _NO_RULES

    @property
    def merged_map(self) -> str:
        """The map that `update` merges by key; empty where it replaces the document."""
        return self.flyte.merged_map if self.flyte else ""

    def update(self, stored: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the stored document after an update by Flyte's rule.

        Most kinds are replaced. With a `merged_map`, entries and paths of ``unset`` stay that the
        document neither sets nor unsets.
        """
        name = self.merged_map
        if not name:
            return dict(document)
        entries, unset = document.get(name, {}), document.get("unset", ())
        kept = {
            key: entry
            for key, entry in stored.get(name, {}).items()
            if not any(self.schema.covers(path, f"{name}.{key}") for path in unset)
        }
        still_unset = [
            path
            for path in stored.get("unset", ())
            if not any(self.schema.covers(other, path) for other in unset)
            and path not in {f"{name}.{key}" for key in entries}
        ]
        more = [p for p in unset if not any(self.schema.covers(other, p) for other in still_unset)]
        updated = {**stored, **document, name: {**kept, **entries}, "unset": [*still_unset, *more]}
        return _without_empty(updated, self.narrowing)

    def implied_unset(self, document: Mapping[str, Any]) -> frozenset[str]:
        """Return the paths that a document unsets by setting another of the `alternatives`."""
        given = self.alternatives & document.keys()
        return self.alternatives - given if given else frozenset()

    def _check_level(self, scope: Scope) -> None:
        if scope.level in self.levels or scope.level is Level.SETTINGS:
            return
        reason = self.refused_levels.get(scope.level, "")
        allowed = f"{self.name} at {_level_names(self.levels)}" + (f" ({reason})" if reason else "")
        raise Invalid("level", scope.level.label, allowed)

    def _check_field_levels(self, paths: Iterable[str], scope: Scope) -> None:
        for path in paths:
            levels = self.field_levels.get(path.split(".")[0], self.levels)
            if scope.level not in levels and scope.level is not Level.SETTINGS:
                raise Invalid(path, scope.level.label, f"at {_level_names(levels)} only")

    def _check_unset(self, unset: tuple[str, ...], flat: Mapping[str, JsonValue]) -> None:
        counts = Counter(unset)
        with_values = {*flat, *(branch for path in flat for branch in self.schema.branches(path))}
        for path in unset:
            if not self.schema.has_path(path):
                paths = sorted(self.schema.paths)
                allowed = f"one of the paths {', '.join(paths)}{names.question(path, paths)}"
                raise Invalid("unset", path, allowed)
            self._check_key(path)
            if counts[path] > 1 or not counts.keys().isdisjoint(self.schema.branches(path)):
                raise Invalid("unset", path, "each path once, and none inside another")
            if path in with_values and path not in self.schema.maps:
                allowed = "a path that has no value in the same record, or the path of a map"
                raise Invalid("unset", path, allowed)

    def _check_narrowed(self, unset: Iterable[str], scope: Scope) -> None:
        """Raise `Invalid` where a record unsets, and so would widen, what it can only narrow."""
        narrowing = self.narrowing_at(scope)
        for path in unset:
            if path in narrowing:
                allowed = (
                    f"a path other than {path}, of which a record at {scope.level.label} can only "
                    "narrow what broader scopes allow"
                )
                raise Invalid("unset", path, allowed)

    def _check_key(self, path: str) -> None:
        """Raise `Invalid` on a path into a map with a key that no record can have."""
        holder = self.schema.map_of(path)
        if holder is not None:
            try:
                self.schema.maps[holder].validate_python(path.removeprefix(holder + "."))
            except ValidationError as error:
                raise Invalid("unset", path, _allowed(error)) from error

    def _check_alternatives(self, document: Mapping[str, Any]) -> None:
        given = sorted(self.alternatives & document.keys())
        if len(given) > 1:
            raise Invalid(given[1], document[given[1]], f"only one of {given[0]}, {given[1]}")

    def _check_no_null(self, document: Mapping[str, Any], prefix: str) -> None:
        for name, value in document.items():
            if value is None:
                path = f"{prefix}{name}"
                raise Invalid(path, None, "a value; to stop inheritance, list the path in unset")
            if isinstance(value, dict):
                self._check_no_null(value, f"{prefix}{name}.")

    def _invalid(self, error: ValidationError) -> Invalid:
        errors = error.errors(include_url=False)
        unknown = [one for one in errors if one["type"] == "extra_forbidden"]
        # As in flytectl, the first unknown field in the order of the alphabet.
        first = min(unknown, key=lambda one: str(one["loc"]), default=errors[0])
        # For an error of a map's key, pydantic adds a marker after the key.
        steps = [step for step in first["loc"] if step != "[key]"]
        path = ".".join(map(str, steps)) or self.name
        if first["type"] == "extra_forbidden":
            prefix = "".join(f"{step}." for step in steps[:-1])
            known = sorted(prefix + name for name in fields_at(self.value, steps[:-1]))
            allowed = f"the fields {', '.join(known)}{names.question(path, known)}"
            return UnknownField(path, first["input"], allowed)
        return Invalid(path, first["input"], _allowed(error))


def _nulls(value: object, prefix: str) -> Iterator[str]:
    """Yield the path of each field that is set to null; data of a program may have null."""
    match value:
        case BaseModel():
            entries = [(name, getattr(value, name)) for name in type(value).model_fields]
            for name, entry in entries:
                if entry is None and name in value.model_fields_set:
                    yield prefix + name
                yield from _nulls(entry, f"{prefix}{name}.")
        case tuple():
            for index, item in enumerate(value):
                yield from _nulls(item, f"{prefix}{index}.")


def _allowed(error: ValidationError) -> str:
    """Return what is allowed instead of the first mistake."""
    return allowed_instead(error.errors(include_url=False)[0])


def _copy_inner(document: dict[str, Any], groups: Iterable[str]) -> dict[str, Any] | None:
    """Copy the objects on the way to an inner one, and return the inner one, free to be changed.

    Return ``None`` where there is no such object.
    """
    for group in groups:
        inner = document.get(group)
        if not isinstance(inner, dict):
            return None
        document[group] = document = dict(inner)
    return document


def _has_path(document: object, steps: Iterable[str]) -> bool:
    for step in steps:
        if not isinstance(document, Mapping) or step not in document:
            return False
        document = document[step]
    return True


def _without_empty(document: Mapping[str, Any], with_empty: Container[str] = ()) -> dict[str, Any]:
    """Leave out empty values; ``with_empty`` are fields that may be empty."""
    kept = {}
    for name, value in document.items():
        inner = _without_empty(value) if isinstance(value, dict) else value
        if inner not in ({}, []) or name in with_empty:
            kept[name] = inner
    return kept


def _level_names(levels: Iterable[Level]) -> str:
    return ", ".join(level.label for level in sorted(levels))
