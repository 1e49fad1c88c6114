"""What one registration of a kind says. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from trimtab.errors import Invalid
from trimtab.levels import Level, Scope


class Value(BaseModel):
    """Base of every kind's fields: all optional, none null when stored.

    A field is absent (inherit), present (value), or listed in `unset` (no value here; inheritance
    stops and a narrower level may set it again).
    """

    # Strict, because "5" or 1 where 5 or true is meant is a mistake that only its writer can judge.
    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True
    )

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
class Schema:
    """The shape of a kind's document, as the fold needs it."""

    leaves: frozenset[str]
    """Dotted paths of scalars and plain lists."""
    maps: frozenset[str]
    """Dotted paths of maps, merged by key."""
    groups: frozenset[str]

    def flatten(self, document: Mapping[str, Any], prefix: str = "") -> dict[str, JsonValue]:
        """Leaves and map keys of a valid document by dotted path."""
        flat: dict[str, JsonValue] = {}
        for name, value in document.items():
            path = prefix + name
            if path in self.groups:
                flat |= self.flatten(value, path + ".")
            elif path in self.maps:
                flat |= {f"{path}.{key}": entry for key, entry in value.items()}
            elif path in self.leaves:
                flat[path] = value
        return flat

    def nest(self, flat: Mapping[str, JsonValue]) -> dict[str, Any]:
        """The inverse of `flatten`."""
        document: dict[str, Any] = {}
        for path, value in flat.items():
            *groups, name = self._steps(path)
            place = document
            for group in groups:
                place = place.setdefault(group, {})
            place[name] = value
        return document

    def _steps(self, path: str) -> list[str]:
        # A key of a map may hold dots, so it is everything behind the map's own path.
        for name in self.maps:
            if path.startswith(name + "."):
                return [*name.split("."), path[len(name) + 1 :]]
        return path.split(".")

    def knows(self, path: str) -> bool:
        """Whether `unset` may name this path."""
        return (
            path in self.leaves
            or path in self.maps
            or path in self.groups
            or any(path.startswith(name + ".") and path != name + "." for name in self.maps)
        )

    def is_whole(self, path: str) -> bool:
        """Whether the path stands for everything below it."""
        return path in self.maps or path in self.groups

    def covers(self, path: str, other: str) -> bool:
        """Whether unsetting the path takes the other's value away."""
        return path == other or (self.is_whole(path) and other.startswith(path + "."))


@dataclass(frozen=True)
class Kind:
    """One registration, from which every surface of the kind is made."""

    name: str
    value: type[Value]
    levels: frozenset[Level]
    noun: str
    """In the command line: ``trimtab get <noun>``."""
    summary: str
    flyte_number: int | None = None
    """Of Flyte's enum MatchableResource; ``None`` where Flyte has no such kind."""
    refused_levels: Mapping[Level, str] = field(default_factory=dict)
    """Why a level that users may expect is refused."""
    field_levels: Mapping[str, frozenset[Level]] = field(default_factory=dict)
    """Top-level fields that may be set at fewer levels than the kind."""
    validate: Callable[[Mapping[str, JsonValue]], Iterable[Problem]] = lambda _flat: ()
    """Problems of an effective value, given as leaves by path; called for every affected scope."""

    @cached_property
    def schema(self) -> Schema:
        leaves, maps, groups = set[str](), set[str](), set[str]()
        _walk(self.value, "", leaves, maps, groups)
        return Schema(frozenset(leaves), frozenset(maps), frozenset(groups))

    def parse(self, document: object, scope: Scope) -> Value:
        """A document for a scope. Raises `Invalid`, which names the first wrong field."""
        if not isinstance(document, dict):
            raise Invalid(self.name, document, "an object with the fields of the kind")
        self._check_level(scope)
        self._check_no_null(document, "")
        try:
            value = self.value.model_validate(document)
        except ValidationError as error:
            raise self._invalid(error) from error
        self._check_unset(value.unset, self.schema.flatten(document))
        self._check_field_levels((*document, *value.unset), scope)
        return value

    def stored(self, value: Value) -> dict[str, Any]:
        """The document as stored: only what was given, empty groups and maps left out."""
        document = value.model_dump(mode="json", exclude_unset=True)
        return _without_empty(document)

    @property
    def _paths(self) -> frozenset[str]:
        return self.schema.leaves | self.schema.maps | self.schema.groups

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
            if not self.schema.knows(path):
                raise Invalid("unset", path, "a path of " + ", ".join(sorted(self._paths)))
            others = (*unset[:index], *unset[index + 1 :])
            if any(self.schema.covers(other, path) for other in others):
                raise Invalid("unset", path, "each path once, and none inside another")
            if any(self.schema.covers(path, known) for known in flat):
                raise Invalid("unset", path, "a path that has no value in the same record")

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
        path = ".".join(str(step) for step in first["loc"] if step != "[key]") or self.name
        if first["type"] == "extra_forbidden":
            siblings = sorted(
                known
                for known in self._paths
                if known.rpartition(".")[0] == path.rpartition(".")[0]
            )
            return Invalid(path, first["input"], "the fields " + ", ".join(siblings))
        context = first.get("ctx", {}).get("error")
        return Invalid(path, first["input"], str(context or first["msg"]))


def _walk(
    model: type[BaseModel], prefix: str, leaves: set[str], maps: set[str], groups: set[str]
) -> None:
    for name, info in model.model_fields.items():
        if not prefix and name == "unset":
            continue
        path = prefix + name
        shape = _shape(info.annotation)
        if isinstance(shape, type) and issubclass(shape, BaseModel):
            groups.add(path)
            _walk(shape, path + ".", leaves, maps, groups)
        elif get_origin(shape) is dict:
            maps.add(path)
        else:
            leaves.add(path)


def _shape(annotation: Any) -> Any:  # a type, or one of typing's forms
    """What a field holds, apart from ``None`` and constraints."""
    if get_origin(annotation) is Annotated:
        return _shape(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return _shape(next(a for a in get_args(annotation) if a is not NoneType))
    return annotation


def _without_empty(document: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, value in document.items():
        inner = _without_empty(value) if isinstance(value, dict) else value
        if inner not in ({}, []):
            kept[name] = inner
    return kept


def _labels(levels: Iterable[Level]) -> str:
    return ", ".join(level.label for level in sorted(levels))
