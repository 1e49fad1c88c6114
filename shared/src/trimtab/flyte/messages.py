"""Documents of kinds as messages of Flyte 1, and back. Pure.

A message carries less than a document: neither the native fields of a kind nor ``unset``, except
for a quantity, whose 0 stops inheritance in Flyte. In a message, false and an empty text are mostly
the same as an absent field.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from functools import cache
from typing import Any, Final

from flyteidl.admin.matchable_resource_pb2 import MatchingAttributes
from google.protobuf import json_format

from trimtab import kinds, quantities
from trimtab.errors import Invalid
from trimtab.kinds import (
    Kind,
    plugin_override,
    quality_of_service,
    task_resource,
    workflow_execution_config,
)
from trimtab.levels import Scope
from trimtab.settings import flyte
from trimtab.settings.fold import Record


@cache
def kinds_by_number() -> Mapping[int, Kind]:
    """Return the kinds that Flyte 1 has, by their value in its enum MatchableResource."""
    return {kind.flyte.number: kind for kind in kinds.registered().values() if kind.flyte}


_TARGETS: Mapping[str, str] = {
    field.message_type.name: field.name
    for field in MatchingAttributes.DESCRIPTOR.oneofs_by_name["target"].fields
}
"""The members of the oneof ``target`` by the names of their messages."""


def target_of(kind: Kind) -> str:
    """Return the member of the oneof ``target`` that holds the fields of a kind."""
    assert kind.flyte is not None
    return _TARGETS[kind.flyte.message]


@cache
def _kinds_by_target() -> Mapping[str, Kind]:
    return {target_of(kind): kind for kind in kinds_by_number().values()}


def kind_of(message: MatchingAttributes) -> Kind | None:
    """Return the kind of a message; ``None`` where it has no member that is known."""
    return _kinds_by_target().get(message.WhichOneof("target") or "")


def to_message(kind: Kind, document: Mapping[str, Any]) -> MatchingAttributes:
    """Return the part of a stored document that Flyte's message can carry."""
    message = MatchingAttributes()
    target = getattr(message, target_of(kind))
    # Present also where it has no field.
    target.SetInParent()
    fields = kind.to_file(_with_zeros(kind, document))
    if isinstance(interruptible := fields.get("interruptible"), dict):
        fields["interruptible"] = interruptible["value"]
    known = target.DESCRIPTOR.fields_by_name
    json_format.ParseDict({name: fields[name] for name in fields if name in known}, target)
    return message


def is_row(record: Record) -> bool:
    """Whether Flyte's API has the record: not where no field of it belongs to the message."""
    kind = record.kind
    assert kind.flyte is not None
    target = MatchingAttributes.DESCRIPTOR.fields_by_name[target_of(kind)].message_type
    return flyte.is_row(record, kind.flyte.native_fields.difference(target.fields_by_name))


def from_message(message: MatchingAttributes, scope: Scope) -> tuple[Kind, dict[str, Any]]:
    """Return the kind and the document of a message that is written at a scope.

    Raises `Invalid`, which names the field as the document has it.
    """
    kind = kind_of(message)
    if kind is None:
        raise Invalid("matching_attributes", message.WhichOneof("target"), "one of its members")
    return kind, kind.to_document(kind.parse(_read(kind, message), scope))


def in_message(kind: Kind, error: Invalid) -> Invalid:
    """Return the error with the path of the field in `MatchingAttributes`."""
    path = error.path
    if path in ("level", "unset"):
        return error
    first, dot, rest = path.partition(".")
    if kind is workflow_execution_config.KIND and first in _WRAPPED and dot:
        path = f"{first}.values.{rest.removeprefix('values.')}"
    elif kind is quality_of_service.KIND and first == "queueing_budget":
        path = f"spec.{path}"
    return Invalid(f"{target_of(kind)}.{path}", error.value, error.allowed)


def revised(kind: Kind, stored: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document after a write by Flyte's message.

    ``written`` is a document of `from_message`. What the message cannot carry stays as it is
    stored, and so does every field that the message has as it would be read. Entries of a
    `Kind.merged_map` that ``written`` lacks stay too, as in Flyte.
    """
    schema = kind.schema
    before = _read(kind, to_message(kind, stored))
    if kind.merged_map:
        written = kind.update(before, written)
    old, new = _flat(kind, before), _flat(kind, written)
    changed = {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
    values = {path: value for path, value in schema.flatten(stored).items() if path not in changed}
    unset = _still_unset(kind, stored.get("unset", ()), changed)
    for path in sorted(changed & new.keys()):
        if new[path] is _UNSET:
            unset.append(path)
        else:
            values[path] = new[path]
    if given := kind.alternatives & written.keys():
        excluded = kind.alternatives - given
        values = {path: value for path, value in values.items() if path not in excluded}
    # A map may be both unset and present; anything else is one of the two.
    present = {*values, *(branch for path in values for branch in schema.branches(path))}
    unset = [path for path in unset if path in schema.maps or path not in present]
    return schema.nest(values) | ({"unset": unset} if unset else {})


def _still_unset(kind: Kind, unset: Iterable[str], changed: Set[str]) -> list[str]:
    """Return what stays unset of a stored document.

    A group of quantities of which some change is unset field by field.
    """
    still = list[str]()
    for path in unset:
        parts = _quantities(kind, path)
        still += [part for part in parts if part not in changed] if changed & {*parts} else [path]
    return still


_UNSET: Final = object()
"""Stands for the value of a path that is unset."""


def _flat(kind: Kind, document: Mapping[str, Any]) -> dict[str, Any]:
    return {**kind.schema.flatten(document), **dict.fromkeys(document.get("unset", ()), _UNSET)}


def _quantities(kind: Kind, path: str) -> tuple[str, ...]:
    """Return the quantities of a group of them; of any other path, the path itself."""
    if kind is task_resource.KIND and path in _GROUPS:
        return tuple(f"{path}.{resource}" for resource in task_resource.RESOURCES)
    return (path,)


def _with_zeros(kind: Kind, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document in which each quantity that is unset is ``"0"``."""
    changed = {name: value for name, value in document.items() if name != "unset"}
    if kind is task_resource.KIND:
        for path in document.get("unset", ()):
            for quantity in _quantities(kind, path):
                group, _, resource = quantity.partition(".")
                if group in _GROUPS:
                    changed[group] = {**changed.get(group, {}), resource: "0"}
    return changed


def _read(kind: Kind, message: MatchingAttributes) -> dict[str, Any]:
    """Return the document of a message, unchecked. Raises `Invalid`."""
    target = target_of(kind)
    try:
        fields = json_format.MessageToDict(
            getattr(message, target),
            preserving_proto_field_name=True,
            use_integers_for_enums=True,
        )
    except (json_format.Error, ValueError) as error:
        # A number or a duration that JSON cannot have.
        raise Invalid(target, str(error), "finite numbers, and durations in range") from error
    document = kind.from_file(_COMPLETED.get(kind.name, dict)(fields))
    return _with_unset(document) if kind is task_resource.KIND else document


def _with_behavior(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Complete plugin overrides: of two for a task type, the last counts, as in Flyte.

    One with nothing but its task type has the behavior whose number is 0.
    """
    by_type = {each.get("task_type"): each for each in fields.get("overrides", ())}
    overrides = [
        {**each, "missing_plugin_behavior": 0} if each.keys() == {"task_type"} else each
        for each in by_type.values()
    ]
    return {**fields, "overrides": overrides}


def _with_values(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Complete variables: one without a value has the empty text."""
    if "envs" not in fields:
        return dict(fields)
    pairs = [{"value": "", **pair} for pair in fields["envs"].get("values", ())]
    return {**fields, "envs": {"values": pairs}}


def _without_empty_spec(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value != {}}


_COMPLETED: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    plugin_override.KIND.name: _with_behavior,
    quality_of_service.KIND.name: _without_empty_spec,
    workflow_execution_config.KIND.name: _with_values,
}
"""By kind: makes fields of what messages leave out because it is the default of its type."""


def _with_unset(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document of `task_resource` whose zero quantities are in ``unset``.

    A quantity that cannot be parsed stays, for `Kind.parse` to refuse. Where both names of a
    quantity are given, the longer counts, as in Flyte.
    """
    changed, unset = dict(document), list[str]()
    for old, name in task_resource.KIND.deprecated.items():
        group, _, resource = old.partition(".")
        given = changed.get(group, {})
        if resource in given and name.partition(".")[2] in given:
            changed[group] = {key: text for key, text in given.items() if key != resource}
    for group in _GROUPS:
        given = changed.get(group, {})
        zeros = [name for name, text in given.items() if _is_zero(text)]
        if zeros:
            changed[group] = {name: text for name, text in given.items() if name not in zeros}
            unset += [f"{group}.{name}" for name in zeros]
    return {**changed, **({"unset": unset} if unset else {})}


def _is_zero(text: str) -> bool:
    try:
        return quantities.parse(text) == 0
    except quantities.InvalidQuantity:
        return False


_GROUPS = ("defaults", "limits")
"""The groups of quantities that a message carries."""
_WRAPPED = ("labels", "annotations", "envs")
"""Maps that are inside a message of their own."""
