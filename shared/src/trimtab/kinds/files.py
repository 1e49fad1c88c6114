"""Shapes that several of Flyte's attribute files have: what `Kind.from_file` is made of. Pure.

What has another shape is left as it is, for `Kind.parse` to take or to refuse.
"""

from collections.abc import Mapping
from typing import Any

from trimtab.errors import Invalid


def wrapped(value: Any, name: str) -> bool:
    """Whether it is protobuf's message around one field: ``{"values": …}``."""
    return isinstance(value, dict) and value.keys() == {name}


def keyed(path: str, entries: Any, key: str) -> Any:
    """A list as a map, by a field that its entries lose. Raises `Invalid` on a key given twice."""
    if not isinstance(entries, list):
        return entries
    by_key: dict[str, Any] = {}
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get(key), str):
            raise Invalid(f"{path}.{index}", entry, f"an object with a {key}")
        if entry[key] in by_key:
            raise Invalid(f"{path}.{index}.{key}", entry[key], f"each {key} once")
        by_key[entry[key]] = {name: value for name, value in entry.items() if name != key}
    return by_key


def listed(entries: Mapping[str, Mapping[str, Any]], key: str) -> list[dict[str, Any]]:
    """The inverse of `keyed`, ordered by key."""
    return [{key: name, **entry} for name, entry in sorted(entries.items())]
