"""JSON merge patch (RFC 7396) for documents whose fields have three states. Pure.

``null`` makes a field absent, whether it was set or unset. A value sets a field, and removes it
from ``unset``.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from trimtab import names
from trimtab.errors import UnknownField
from trimtab.kinds.schema import Schema, inner_type

Keys = tuple[str, ...]
"""The keys that lead to a value. A key may contain dots, so no path is a prefix of another text."""

NO_FIELDS = Schema(frozenset(), {}, frozenset())


def merge(
    document: Mapping[str, Any], patch: Mapping[str, Any], schema: Schema = NO_FIELDS
) -> dict[str, Any]:
    """Return the document after the patch; neither argument is changed.

    ``schema`` is that of a document with ``unset``, whose paths are dotted.
    """
    result = _merge(document, patch)
    if "unset" in patch or "unset" not in result:
        return result
    patched = dict(_patched(patch, schema, ()))
    unset = [path for path in result.pop("unset") if not _is_patched(schema.keys(path), patched)]
    return result | ({"unset": unset} if unset else {})


def check_removals(
    shape: Any, patch: Mapping[str, Any], ignored: Collection[str] = (), prefix: str = ""
) -> None:
    """Raise `UnknownField` where the patch removes a field that no document of a type has.

    The result of the patch would be valid, and its author's mistake would not be noticed.
    ``ignored`` are fields of the model that are not part of the document.
    """
    shape = inner_type(shape)
    is_model = isinstance(shape, type) and issubclass(shape, BaseModel)
    fields = {
        name: info.annotation
        for name, info in (shape.model_fields.items() if is_model else ())
        if name not in ignored
    }
    entry = None if is_model or get_origin(shape) is not dict else get_args(shape)[1]
    for name, value in patch.items():
        if is_model and value is None and name not in fields:
            allowed = f"one of {', '.join(fields)}{names.question(name, fields)}"
            raise UnknownField(prefix + name, None, allowed)
        if isinstance(value, dict):
            check_removals(fields.get(name, entry), value, (), f"{prefix}{name}.")


def _merge(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(document)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            before = result.get(name)
            result[name] = _merge(before if isinstance(before, dict) else {}, value)
        else:
            result[name] = value
    return result


def _patched(patch: Mapping[str, Any], schema: Schema, prefix: Keys) -> Iterator[tuple[Keys, bool]]:
    """Yield the keys of each value that the patch sets or removes, and whether it removes it.

    A value that is folded as one, such as an entry of a map, is set as a whole by any part of it.
    """
    for name, value in patch.items():
        keys = (*prefix, name)
        if isinstance(value, dict) and not schema.is_atomic(".".join(keys)):
            yield from _patched(value, schema, keys)
        else:
            yield keys, value is None


def _is_patched(keys: Sequence[str], patched: Mapping[Keys, bool]) -> bool:
    """Whether the patch sets or removes what the keys lead to, or removes what contains it."""
    own = tuple(keys)
    return own in patched or any(patched.get(own[:count], False) for count in range(len(own)))
