"""The shape of a kind's document: which parts are folded as one value, by field or by key. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue, TypeAdapter

ATOMIC: Final = "atomic"
"""Marks a field whose model is folded as one value: ``Annotated[Client | None, ATOMIC]``."""


@dataclass(frozen=True)
class Schema:
    """The paths of a kind's document, by how they are folded."""

    leaves: frozenset[str]
    """Dotted paths of fields folded as one value: scalars, lists, models marked `ATOMIC`."""
    maps: Mapping[str, TypeAdapter[Any]]
    """Dotted paths of maps, which are merged by key, each with the type of its keys."""
    groups: frozenset[str]
    """Dotted paths of fields that hold other fields."""

    @classmethod
    def of(cls, model: type[BaseModel]) -> "Schema":
        leaves, groups = set[str](), set[str]()
        maps: dict[str, TypeAdapter[Any]] = {}
        for path, shape, is_atomic in _walk(model, ""):
            if get_origin(shape) is dict:
                maps[path] = TypeAdapter(get_args(shape)[0])
            else:
                (leaves if is_atomic else groups).add(path)
        return cls(frozenset(leaves), maps, frozenset(groups))

    @property
    def paths(self) -> frozenset[str]:
        return self.leaves | self.maps.keys() | self.groups

    def flatten(self, document: Mapping[str, Any], prefix: str = "") -> dict[str, JsonValue]:
        """Return the values of a valid document by dotted path of a leaf or map key."""
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
        """Return the document of the values: the inverse of `flatten`."""
        document: dict[str, Any] = {}
        for path, value in flat.items():
            *groups, name = self.keys(path)
            inner = document
            for group in groups:
                inner = inner.setdefault(group, {})
            inner[name] = value
        return document

    def keys(self, path: str) -> list[str]:
        """Return the keys that lead to the value of a dotted path: names, then a key of a map."""
        # A key of a map may contain dots, so it is everything after the path of the map.
        holder = self.map_of(path)
        return path.split(".") if holder is None else [*holder.split("."), path[len(holder) + 1 :]]

    def path(self, keys: Sequence[object]) -> str | None:
        """Return the dotted path of the keys: the inverse of `keys`; ``None`` for no such path."""
        path = ".".join(map(str, keys))
        return path if self.has_path(path) and self.keys(path) == list(keys) else None

    def map_of(self, path: str) -> str | None:
        """Return the path of the map that the path is a key of; ``None`` where it is no key."""
        return next((name for name in self.maps if path.startswith(name + ".")), None)

    def has_path(self, path: str) -> bool:
        """Whether a document may set the path, and so `unset` may list it."""
        holder = self.map_of(path)
        return path in self.paths or (holder is not None and path != holder + ".")

    def is_branch(self, path: str) -> bool:
        """Whether the path is a map or a group, so that unsetting it unsets everything below it."""
        return path in self.maps or path in self.groups

    def is_atomic(self, path: str) -> bool:
        """Whether the value of the path is folded as one, even if it is an object."""
        return path in self.leaves or self.map_of(path) is not None

    def branches(self, path: str) -> list[str]:
        """Return the maps and groups that the path is inside of."""
        return [name for name in (*self.maps, *self.groups) if path.startswith(name + ".")]

    def covers(self, path: str, other: str) -> bool:
        """Whether unsetting the path unsets the other one."""
        return path == other or (self.is_branch(path) and other.startswith(path + "."))


def _walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any, bool]]:
    """Yield the path and the type of each field, and whether it is folded as one value."""
    for name, info in model.model_fields.items():
        if not prefix and name == "unset":
            continue
        shape = inner_type(info.annotation)
        is_model = isinstance(shape, type) and issubclass(shape, BaseModel)
        is_atomic = not is_model or ATOMIC in info.metadata
        yield prefix + name, shape, is_atomic
        if not is_atomic:
            yield from _walk(shape, f"{prefix}{name}.")


def inner_type(annotation: Any) -> Any:  # A type, or a form of typing.
    """Return the type that a field holds, without ``None`` and without constraints."""
    if get_origin(annotation) is Annotated:
        return inner_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return inner_type(next(a for a in get_args(annotation) if a is not NoneType))
    return annotation


def fields_at(model: type[BaseModel], steps: Sequence[object]) -> list[str]:
    """Return the names of fields of an inner model; the steps are field names, keys and indexes."""
    shape: Any = model
    for step in steps:
        if isinstance(shape, type) and issubclass(shape, BaseModel):
            shape = inner_type(shape.model_fields[str(step)].annotation)
        else:
            # dict[key, entry], or tuple[item, ...].
            shape = inner_type(get_args(shape)[get_origin(shape) is dict])
    return [name for name in shape.model_fields if name != "unset"]
