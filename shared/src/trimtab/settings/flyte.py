"""The effective value that Flyte 1 would make of the same records. Pure.

Flyte 1 stores records of projects, project-domains and workflows, and for some kinds reads fewer
levels; the settings file, the platform and for some kinds the domain stand for its configuration
file. It has no other records, and a field in ``unset`` has no value there. What an execution or a
launch plan requests takes precedence over all of this in Flyte too, and is not part of it.
"""

from collections.abc import Callable, Mapping, Sequence, Set

from trimtab import kinds
from trimtab.errors import Invalid
from trimtab.kinds.flyte import FlyteMerge
from trimtab.levels import Level, Scope
from trimtab.settings.fold import Effective, Leaf, Record, fold
from trimtab.settings.state import Settings

Leaves = Mapping[str, Leaf]
Merge = Callable[[Sequence[Leaves], Leaves], Leaves]
"""Merges the leaves of the records, narrowest first, and those of the configuration."""


def effective(settings: Settings, kind: str, target: Scope) -> Effective:
    """Return the effective value at a target, by the rule of Flyte 1.

    Raises `NotFound`, `Unreadable`, and `Invalid` on a kind that Flyte 1 does not have.
    """
    found = kinds.by_name(kind)
    flyte = found.flyte
    if flyte is None:
        known = ", ".join(kind.name for kind in kinds.registered().values() if kind.flyte)
        raise Invalid("kind", kind, f"a kind that Flyte 1 has: {known}")
    stored = {record.scope.level: record for record in settings.chain(kind, target)}
    records = [
        _without_fields(stored[level].leaves, flyte.native_fields)
        for level in reversed(flyte.record_levels)
        if level in stored and is_row(stored[level], flyte.native_fields)
    ]
    file = fold(found, target, [stored[at] for at in flyte.configuration_levels if at in stored])
    configuration = {
        path: Leaf(leaf.value, leaf.scope, leaf.revision)
        for path, leaf in _without_fields(file.leaves, flyte.native_fields).items()
        if leaf.value is not None
    }
    leaves = MERGES[flyte.merge](records, configuration)
    return Effective(found, target, leaves)


def is_row(record: Record, native_fields: Set[str]) -> bool:
    """Whether Flyte has a row for the record: also an empty one, which hides the broader rows.

    It has none for a record of native fields only.
    """
    paths = [*record.leaves, *(path for path, _ in record.unset)]
    return not paths or any(_field(path) not in native_fields for path in paths)


def _without_fields(leaves: Leaves, fields: frozenset[str]) -> Leaves:
    return {path: leaf for path, leaf in leaves.items() if _field(path) not in fields}


def _field(path: str) -> str:
    return path.partition(".")[0]


def _narrowest_record(records: Sequence[Leaves], configuration: Leaves) -> Leaves:
    """Return one record; a field that it lacks has no value, whatever the configuration has."""
    return records[0] if records else configuration


def _over_configuration(records: Sequence[Leaves], configuration: Leaves) -> Leaves:
    """Return the keys of one record, and those of the configuration that it lacks."""
    return {**configuration, **(records[0] if records else {})}


def _field_by_field(records: Sequence[Leaves], configuration: Leaves) -> Leaves:
    """Fill the fields that the narrowest record lacks from the project's record, and those that
    are still missing from the configuration. A map, a list or a security context is one field."""
    merged = dict(records[0]) if records else {}
    of_projects = [leaves for leaves in records[1:] if leaves and _level(leaves) is Level.PROJECT]
    # A false `interruptible` of the configuration file counts as not set.
    of_file = {
        path: leaf for path, leaf in configuration.items() if leaf.value or path != "interruptible"
    }
    for layer in (*of_projects, of_file):
        for field in dict.fromkeys(map(_field, layer)):
            part = {path: leaf for path, leaf in layer.items() if _field(path) == field}
            if _is_missing(field, merged) and _fills(field, part):
                merged |= part
    return merged


def _level(leaves: Leaves) -> Level:
    return next(iter(leaves.values())).scope.level


def _is_missing(field: str, merged: Leaves) -> bool:
    if field == "overwrite_cache":
        # On the wire, false is the same as an absent field.
        return field not in merged or not merged[field].value
    return all(_field(path) != field for path in merged)


_IDENTITIES = frozenset(
    f"security_context.run_as.{name}"
    for name in ("iam_role", "k8s_service_account", "execution_identity")
)


def _fills(field: str, part: Leaves) -> bool:
    """Whether Flyte 1 takes a missing field from a broader layer that has it."""
    match field:
        case "security_context":
            # Flyte skips a security context without an identity, with its secrets and tokens.
            return not _IDENTITIES.isdisjoint(part)
        case "overwrite_cache":
            return bool(part[field].value)
        case _:
            return True


MERGES: Mapping[FlyteMerge, Merge] = {
    FlyteMerge.NARROWEST_RECORD: _narrowest_record,
    FlyteMerge.OVER_CONFIGURATION: _over_configuration,
    FlyteMerge.FIELD_BY_FIELD: _field_by_field,
}
