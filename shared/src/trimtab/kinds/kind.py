"""What one registration of a kind says. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from trimtab.errors import Invalid
from trimtab.kinds.flyte import FlyteKind
from trimtab.kinds.schema import Schema, fields_at
from trimtab.levels import Level, Scope


class Part(BaseModel):
    """Base of what a kind's fields hold."""

    # Strict, because "5" or 1 where 5 or true is meant is a mistake that only its writer can judge.
    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True
    )


class Value(Part):
    """Base of every kind's fields: all optional, none null when stored.

    A field is absent (inherit), present (value), or listed in `unset` (no value here; inheritance
    stops and a narrower level may set it again).
    """

    unset: tuple[str, ...] = Field(default=(), strict=False)
    """Dotted paths of fields, groups or map keys that have no value here."""


@dataclass(frozen=True)
class Problem:
    """Why an effective value may not be: the field, its value, what is allowed."""

    path: str
    value: JsonValue
    allowed: str
    bound: str = ""
    """Path of the field that allows no more, where it is a field that does not."""


@dataclass(frozen=True)
class Kind:
    """One registration, from which every surface of the kind is made."""

    name: str
    value: type[Value]
    levels: frozenset[Level]
    noun: str
    """In the command line: ``trimtab get <noun>``."""
    summary: str
    other_nouns: tuple[str, ...] = ()
    """Taken by the command line too."""
    flyte: FlyteKind | None = None
    """What is specific to Flyte 1; ``None`` where Flyte does not have the kind."""
    refused_levels: Mapping[Level, str] = field(default_factory=dict)
    """Why a level that users may expect is refused."""
    field_levels: Mapping[str, frozenset[Level]] = field(default_factory=dict)
    """Top-level fields that may be set at fewer levels than the kind."""
    alternatives: frozenset[str] = frozenset()
    """Fields of which one record has one at most, and of which the narrowest record's one counts:
    saying one unsets the others."""
    deprecated: Mapping[str, str] = field(default_factory=dict)
    """Paths that writers may still use, and what they are called now."""
    from_file: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    """The document in an attribute file, which has Flyte's shape or ours. What it does not know it
    leaves as it is, for `parse` to refuse; it raises `Invalid` where the shape has no meaning."""
    to_file: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    """The inverse of `from_file`: a stored document as Flyte's tools write it."""
    validate: Callable[[Mapping[str, JsonValue]], Iterable[Problem]] = lambda _flat: ()
    """Problems of an effective value, given as leaves by path; called for every affected scope."""

    @cached_property
    def schema(self) -> Schema:
        return Schema.of(self.value)

    def parse(self, document: object, scope: Scope) -> Value:
        """A document for a scope. Raises `Invalid`, which names the first wrong field."""
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
        """The document as stored: only what was given, empty groups and maps left out."""
        document = value.model_dump(mode="json", exclude_unset=True)
        return _without_empty(document)

    def rename_deprecated(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document, or a patch of one, with today's names.

        Raises `Invalid` where a value is given under both of its names.
        """
        renamed = dict(document)
        for old, new in self.deprecated.items():
            *groups, old_name = old.split(".")
            holder = _copied(renamed, groups)
            if holder is not None and old_name in holder:
                new_name = new.rpartition(".")[2]
                if new_name in holder:
                    raise Invalid(old, holder[old_name], f"nothing beside {new}, its name today")
                holder[new_name] = holder.pop(old_name)
        if isinstance(unset := renamed.get("unset"), list | tuple):
            renamed["unset"] = [
                self.deprecated.get(path, path) if isinstance(path, str) else path for path in unset
            ]
        return renamed

    def warnings(self, document: Mapping[str, Any]) -> tuple[str, ...]:
        """What the writer of the document, or of the patch, should know."""
        return tuple(
            f"{old} is deprecated; it was taken as {new}"
            for old, new in self.deprecated.items()
            if _has(document, old.split(".")) or old in (document.get("unset") or ())
        )

    def implied_unset(self, document: Mapping[str, Any]) -> frozenset[str]:
        """Paths that the document unsets by giving another of the `alternatives`."""
        given = self.alternatives & document.keys()
        return self.alternatives - given if given else frozenset()

    def _check_level(self, scope: Scope) -> None:
        if scope.level in self.levels or scope.level is Level.SETTINGS:
            return
        reason = self.refused_levels.get(scope.level, "")
        allowed = f"{self.name} at {_labels(self.levels)}" + (f" ({reason})" if reason else "")
        raise Invalid("level", scope.level.label, allowed)

    def _check_field_levels(self, paths: Iterable[str], scope: Scope) -> None:
        for path in paths:
            levels = self.field_levels.get(path.split(".")[0], self.levels)
            if scope.level not in levels and scope.level is not Level.SETTINGS:
                raise Invalid(path, scope.level.label, f"at {_labels(levels)} only")

    def _check_unset(self, unset: tuple[str, ...], flat: Mapping[str, JsonValue]) -> None:
        for index, path in enumerate(unset):
            if not self.schema.has_path(path):
                raise Invalid("unset", path, "a path of " + ", ".join(sorted(self.schema.paths)))
            self._check_key(path)
            others = (*unset[:index], *unset[index + 1 :])
            if any(self.schema.covers(other, path) for other in others):
                raise Invalid("unset", path, "each path once, and none inside another")
            if any(self.schema.covers(path, known) for known in flat):
                raise Invalid("unset", path, "a path that has no value in the same record")

    def _check_key(self, path: str) -> None:
        """A key that no record can have was misspelt."""
        holder = self.schema.map_of(path)
        if holder is not None:
            try:
                self.schema.maps[holder].validate_python(path.removeprefix(holder + "."))
            except ValidationError as error:
                raise Invalid("unset", path, _words(error)) from error

    def _check_alternatives(self, document: Mapping[str, Any]) -> None:
        given = sorted(self.alternatives & document.keys())
        if len(given) > 1:
            raise Invalid(given[1], document[given[1]], f"either it or {given[0]}")

    def _check_no_null(self, document: Mapping[str, Any], prefix: str) -> None:
        for name, value in document.items():
            if value is None:
                path = f"{prefix}{name}"
                raise Invalid(path, None, "a value; to stop inheritance list it in unset")
            if isinstance(value, dict):
                self._check_no_null(value, f"{prefix}{name}.")

    def _invalid(self, error: ValidationError) -> Invalid:
        first = error.errors(include_url=False)[0]
        # pydantic marks an error of a map's key, behind the key itself.
        steps = [step for step in first["loc"] if step != "[key]"]
        path = ".".join(map(str, steps)) or self.name
        if first["type"] == "extra_forbidden":
            prefix = "".join(f"{step}." for step in steps[:-1])
            known = sorted(prefix + name for name in fields_at(self.value, steps[:-1]))
            return Invalid(path, first["input"], "the fields " + ", ".join(known))
        return Invalid(path, first["input"], _words(error))


def _words(error: ValidationError) -> str:
    """What the first mistake should have been."""
    first = error.errors(include_url=False)[0]
    return str(first.get("ctx", {}).get("error") or first["msg"])


def _copied(document: dict[str, Any], groups: Iterable[str]) -> dict[str, Any] | None:
    """The inner object, which may be changed without changing where it came from."""
    for group in groups:
        inner = document.get(group)
        if not isinstance(inner, dict):
            return None
        document[group] = document = dict(inner)
    return document


def _has(document: object, steps: Iterable[str]) -> bool:
    for step in steps:
        if not isinstance(document, Mapping) or step not in document:
            return False
        document = document[step]
    return True


def _without_empty(document: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, value in document.items():
        inner = _without_empty(value) if isinstance(value, dict) else value
        if inner not in ({}, []):
            kept[name] = inner
    return kept


def _labels(levels: Iterable[Level]) -> str:
    return ", ".join(level.label for level in sorted(levels))
