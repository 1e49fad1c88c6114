"""Facts about Flyte 1 that a kind declares, and shapes that its attribute files share. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeGuard

from trimtab.errors import Invalid, UnknownField
from trimtab.levels import Level


class FlyteMerge(Enum):
    """How Flyte 1 makes one value of the stored records and its configuration file."""

    NARROWEST_RECORD = "the narrowest record alone, or the configuration where there is none"
    OVER_CONFIGURATION = "the keys of the narrowest record, then those of the configuration"
    FIELD_BY_FIELD = "each field from the narrowest record, the project's, or the configuration"


@dataclass(frozen=True)
class FlyteKind:
    """Everything about a kind that is specific to Flyte 1."""

    number: int
    """Value of the kind in the enum MatchableResource."""
    message: str
    """Name of the protobuf message that holds the fields; flytectl prints it as the title."""
    merge: FlyteMerge = FlyteMerge.NARROWEST_RECORD
    record_levels: tuple[Level, ...] = (Level.PROJECT, Level.PROJECT_DOMAIN, Level.WORKFLOW)
    """Levels whose records Flyte 1 reads, broadest first."""
    configuration_levels: tuple[Level, ...] = (Level.SETTINGS, Level.PLATFORM)
    """Levels that stand for the configuration file of Flyte 1, broadest first."""
    merged_map: str = ""
    """The map of a document that Flyte's server merges by key into the stored one when it updates a
    record; empty where an update replaces the whole record."""
    native_fields: frozenset[str] = frozenset()
    """Top-level fields that only Trimtab has."""
    ignores_empty: bool = False
    """Whether Flyte 1 takes its configuration where the narrowest record has no value."""


def is_wrapper(value: Any, field: str) -> TypeGuard[Mapping[str, Any]]:
    """Whether the value is a protobuf message around one field: ``{"values": …}``."""
    return isinstance(value, dict) and value.keys() == {field}


def enum_name(names: Sequence[str], value: Any) -> Any:
    """Return the name of Flyte's number; any other value unchanged."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return names[value] if is_number and 0 <= value < len(names) else value


def convert_fields(value: Any, converters: Mapping[str, Callable[[Any], Any]]) -> Any:
    """Return a copy in which the fields with these names are converted, at any depth."""
    if isinstance(value, list):
        return [convert_fields(item, converters) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: converters[name](entry) if name in converters else convert_fields(entry, converters)
        for name, entry in value.items()
    }


def map_of_list(path: str, entries: Any, key: str, others: Sequence[str]) -> Any:
    """Turn a list of objects into a map by one of their fields, which the entries then lack.

    A value that is not a list is returned unchanged, for `Kind.parse` to accept or reject. Raises
    `UnknownField` where an entry has a field that is neither the key nor one of the ``others``, and
    `Invalid` where it has no key, or the key of an earlier entry.
    """
    if not isinstance(entries, list):
        return entries
    by_key: dict[str, Any] = {}
    for index, entry in enumerate(entries):
        for name in sorted(entry.keys() - {key, *others} if isinstance(entry, dict) else ()):
            allowed = "the fields " + ", ".join(sorted((key, *others)))
            raise UnknownField(f"{path}.{index}.{name}", entry[name], allowed)
        if not isinstance(entry, dict) or not isinstance(entry.get(key), str):
            raise Invalid(f"{path}.{index}", entry, f"an object with a {key}")
        if entry[key] in by_key:
            raise Invalid(f"{path}.{index}.{key}", entry[key], f"each {key} once")
        by_key[entry[key]] = {name: value for name, value in entry.items() if name != key}
    return by_key


def list_of_map(entries: Mapping[str, Mapping[str, Any]], key: str) -> list[dict[str, Any]]:
    """Turn a map into a list ordered by key: the inverse of `map_of_list`."""
    return [{key: name, **entry} for name, entry in sorted(entries.items())]
