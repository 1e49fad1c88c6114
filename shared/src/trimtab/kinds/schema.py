"""The shape of a kind's document: what is folded as one, and what by field or key. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue, TypeAdapter

ATOMIC: Final = "atomic"
"""Marks a field that holds a model and is folded as one: ``Annotated[Client | None, ATOMIC]``."""


@dataclass(frozen=True)
class Schema:
    """The shape of a kind's document, as the fold needs it."""

    leaves: frozenset[str]
    """Dotted paths of what is folded as one: scalars, lists, models marked `ATOMIC`."""
    maps: Mapping[str, TypeAdapter[Any]]
    """Dotted paths of maps and of lists that are kept by key, merged by key; what a key may be."""
    groups: frozenset[str]

    @classmethod
    def of(cls, model: type[BaseModel]) -> "Schema":
        leaves, groups = set[str](), set[str]()
        maps: dict[str, TypeAdapter[Any]] = {}
        for path, shape, whole in _walk(model, ""):
            if get_origin(shape) is dict:
                maps[path] = TypeAdapter(get_args(shape)[0])
            else:
                (leaves if whole else groups).add(path)
        return cls(frozenset(leaves), maps, frozenset(groups))

    @property
    def paths(self) -> frozenset[str]:
        return self.leaves | self.maps.keys() | self.groups

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
        holder = self.map_of(path)
        return path.split(".") if holder is None else [*holder.split("."), path[len(holder) + 1 :]]

    def map_of(self, path: str) -> str | None:
        """The map that the path is a key of."""
        return next((name for name in self.maps if path.startswith(name + ".")), None)

    def has_path(self, path: str) -> bool:
        """Whether `unset` may name this path."""
        holder = self.map_of(path)
        return path in self.paths or (holder is not None and path != holder + ".")

    def is_container(self, path: str) -> bool:
        """Whether the path stands for everything below it."""
        return path in self.maps or path in self.groups

    def is_atomic(self, path: str) -> bool:
        """Whether it is folded as one, though it may be an object."""
        return path in self.leaves or self.map_of(path) is not None

    def covers(self, path: str, other: str) -> bool:
        """Whether unsetting the path takes the other's value away."""
        return path == other or (self.is_container(path) and other.startswith(path + "."))


def _walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any, bool]]:
    """Each field below the model: its path, what it holds, and whether that is folded as one."""
    for name, info in model.model_fields.items():
        if not prefix and name == "unset":
            continue
        shape = inner_type(info.annotation)
        is_model = isinstance(shape, type) and issubclass(shape, BaseModel)
        whole = not is_model or ATOMIC in info.metadata
        yield prefix + name, shape, whole
        if not whole:
            yield from _walk(shape, f"{prefix}{name}.")


def inner_type(annotation: Any) -> Any:  # a type, or one of typing's forms
    """What a field holds, apart from ``None`` and constraints."""
    if get_origin(annotation) is Annotated:
        return inner_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return inner_type(next(a for a in get_args(annotation) if a is not NoneType))
    return annotation


def fields_at(model: type[BaseModel], steps: Sequence[object]) -> list[str]:
    """Names of the fields that stand at a place inside the model, behind keys and indexes too."""
    shape: Any = model
    for step in steps:
        if isinstance(shape, type) and issubclass(shape, BaseModel):
            shape = inner_type(shape.model_fields[str(step)].annotation)
        else:
            # dict[key, entry], or tuple[item, ...].
            shape = inner_type(get_args(shape)[get_origin(shape) is dict])
    return [name for name in shape.model_fields if name != "unset"]
