"""JSON merge patch (RFC 7396) for documents whose fields have three states. Pure.

``null`` makes a field absent, whether it had a value or was unset; a value ends its being unset.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def merged(
    document: Mapping[str, Any],
    patch: Mapping[str, Any],
    is_one: Callable[[str], bool] = lambda _path: False,
) -> dict[str, Any]:
    """The document after the patch; neither argument is changed.

    ``is_one`` says which paths are one field, so that a part of it ends its being unset.
    """
    result = _merged(document, patch)
    if "unset" in patch or "unset" not in result:
        return result
    said = dict(_said(patch, is_one))
    kept = [path for path in result.pop("unset") if not _is_said(path, said)]
    return result | ({"unset": kept} if kept else {})


def _merged(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(document)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            before = result.get(name)
            result[name] = _merged(before if isinstance(before, dict) else {}, value)
        else:
            result[name] = value
    return result


def _said(
    patch: Mapping[str, Any], is_one: Callable[[str], bool], prefix: str = ""
) -> Iterator[tuple[str, bool]]:
    """Each dotted path that the patch removes or gives a value, and whether it removes it."""
    for name, value in patch.items():
        if isinstance(value, dict) and not is_one(prefix + name):
            yield from _said(value, is_one, f"{prefix}{name}.")
        else:
            yield prefix + name, value is None


def _is_said(path: str, said: Mapping[str, bool]) -> bool:
    if path in said:
        return True
    return any(removes and path.startswith(known + ".") for known, removes in said.items())
