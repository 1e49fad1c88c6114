"""Fields of attribute files as Go's decoder of JSON, and so flytectl, reads them. Pure.

Names of fields may have any letter case, null is an absent field, or empty text in a map of texts,
and 5.0 is the integer 5. Keys of maps stay as they are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from trimtab.errors import Invalid
from trimtab.kinds.kind import Kind
from trimtab.kinds.schema import inner_type

_FLYTE_NAMES = ("key", "spec", "task_type", "value", "values")
"""Fields of Flyte's messages that our documents do not have."""


def read(kind: Kind, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a file for `Kind.from_file`.

    What does not fit the type of a field stays unchanged, for `Kind.parse` to refuse. Raises
    `Invalid` where an object has two spellings of one name.
    """
    deprecated = (path.rpartition(".")[2] for path in kind.deprecated)
    return _Reader((*_FLYTE_NAMES, *deprecated)).read_object(kind.value, fields, "")


@dataclass(frozen=True)
class _Reader:
    names: Iterable[str]
    """Names that fields may have in addition to those of the models."""

    def read_object(self, shape: Any, value: Mapping[str, Any], path: str) -> dict[str, Any]:
        is_model = isinstance(shape, type) and issubclass(shape, BaseModel)
        fields = shape.model_fields if is_model else {}
        by_lower = {name.lower(): name for name in (*self.names, *fields)}
        found: dict[str, Any] = {}
        for key, entry in value.items():
            name = key if key in fields else by_lower.get(key.lower(), key)
            if name in found:
                raise Invalid(path + name, key, "one spelling of the key")
            inner = fields[name].annotation if name in fields else shape
            # An object in place of a text is an entry of a list that stands for a map of texts.
            is_empty_text = entry is None and shape is str
            found[name] = "" if is_empty_text else self._read(inner, entry, f"{path}{name}.")
        known = frozenset(by_lower.values())
        return {name: one for name, one in found.items() if one is not None or name not in known}

    def _read(self, shape: Any, value: Any, path: str) -> Any:
        shape = inner_type(shape)
        if isinstance(value, float) and (shape is int or get_origin(shape) is Literal):
            return int(value) if value.is_integer() else value
        if isinstance(value, list):
            item = _item(shape)
            return [self._read(item, one, f"{path}{index}.") for index, one in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if get_origin(shape) is dict:
            return self._read_map(shape, value, path)
        return self.read_object(shape, value, path)

    def _read_map(self, shape: Any, value: Mapping[str, Any], path: str) -> dict[str, Any] | None:
        entry = inner_type(get_args(shape)[1])
        if entry is not str:
            return {key: self._read(entry, one, f"{path}{key}.") for key, one in value.items()}
        # Flyte wraps a map of texts in a message. A label may have this key, but then with a text.
        if [key.lower() for key in value] == ["values"]:
            [inner] = value.values()
            if not isinstance(inner, str):
                read = self._read(shape, inner, f"{path}values.")
                return None if read is None else {"values": read}
        return {
            key: "" if one is None else self._read(entry, one, f"{path}{key}.")
            for key, one in value.items()
        }


def _item(shape: Any) -> Any:
    """Return the type of the items of a list; Flyte has lists where our documents have maps."""
    arguments = get_args(shape)
    return arguments[get_origin(shape) is dict] if arguments else None
