"""JSON merge patch (RFC 7396) for documents whose fields have three states. Pure.

``null`` makes a field absent, whether it was set or unset. A value sets a field, and removes it
from ``unset``.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from trimtab import names
from trimtab.errors import UnknownField
from trimtab.kinds.schema import inner_type


def merge(
    document: Mapping[str, Any],
    patch: Mapping[str, Any],
    is_atomic: Callable[[str], bool] = lambda _path: False,
) -> dict[str, Any]:
    """Return the document after the patch; neither argument is changed.

    ``is_atomic`` returns whether the path of an object is one field, so that a patch of any part
    of it sets the whole.
    """
    result = _merge(document, patch)
    if "unset" in patch or "unset" not in result:
        return result
    patched = dict(_patched_paths(patch, is_atomic))
    unset = [path for path in result.pop("unset") if not _is_patched(path, patched)]
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


def _patched_paths(
    patch: Mapping[str, Any], is_atomic: Callable[[str], bool], prefix: str = ""
) -> Iterator[tuple[str, bool]]:
    """Yield each dotted path that the patch sets or removes, and whether it removes it."""
    for name, value in patch.items():
        if isinstance(value, dict) and not is_atomic(prefix + name):
            yield from _patched_paths(value, is_atomic, f"{prefix}{name}.")
        else:
            yield prefix + name, value is None


def _is_patched(path: str, patched: Mapping[str, bool]) -> bool:
    if path in patched:
        return True
    return any(removes and path.startswith(known + ".") for known, removes in patched.items())
