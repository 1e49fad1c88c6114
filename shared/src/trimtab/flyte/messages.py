"""Documents of kinds as messages of Flyte 1, and back. Pure.

A message carries less than a document: neither the native fields of a kind nor ``unset``, except
for a quantity, whose 0 stops inheritance in Flyte.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from flyteidl.admin.matchable_resource_pb2 import MatchingAttributes
from google.protobuf import json_format

from trimtab import kinds, quantities
from trimtab.errors import Invalid
from trimtab.kinds import Kind, task_resource
from trimtab.levels import Scope


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


def to_message(kind: Kind, document: Mapping[str, Any]) -> MatchingAttributes:
    """Return the part of a stored document that Flyte's message can carry."""
    assert kind.flyte is not None
    fields = kind.to_file(_carried(kind, document))
    if isinstance(interruptible := fields.get("interruptible"), dict):
        fields["interruptible"] = interruptible["value"]
    message = MatchingAttributes()
    target = getattr(message, target_of(kind))
    target.SetInParent()
    json_format.ParseDict(fields, target)
    return message


def from_message(message: MatchingAttributes, scope: Scope) -> tuple[Kind, dict[str, Any]]:
    """Return the kind and the document of a message that is written at a scope.

    Raises `Invalid`, which names the field.
    """
    target = message.WhichOneof("target")
    kind = next((one for one in kinds_by_number().values() if target_of(one) == target), None)
    if kind is None:
        raise Invalid("matching_attributes", target, "one of its members")
    fields = json_format.MessageToDict(
        getattr(message, target), preserving_proto_field_name=True, use_integers_for_enums=True
    )
    document = kind.from_file(fields)
    if kind is task_resource.KIND:
        document = _with_unset(document)
    return kind, kind.to_document(kind.parse(document, scope))


def revised(kind: Kind, stored: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document after a write by Flyte's message: native parts of the stored one stay.

    ``written`` is a document of `from_message`. Entries of a `Kind.merged_map` that it lacks stay
    too, as in Flyte.
    """
    assert kind.flyte is not None
    native = {name: stored[name] for name in kind.flyte.native_fields if name in stored}
    flat = kind.schema.flatten(written)
    unset = [
        path
        for path in stored.get("unset", ())
        if not _is_carried(kind, path)
        # A map may be both unset and present; anything else is one of the two.
        and (path in kind.schema.maps or not any(kind.schema.covers(path, leaf) for leaf in flat))
    ]
    updated = kind.update(stored, written) if kind.merged_map else dict(written)
    unset = sorted({*unset, *updated.get("unset", ())})
    return {**updated, **native, **({"unset": unset} if unset else {})}


def _carried(kind: Kind, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document without what no message can carry; an unset quantity is ``"0"``."""
    assert kind.flyte is not None
    left_out = {*kind.flyte.native_fields, "unset"}
    carried = {name: value for name, value in document.items() if name not in left_out}
    if kind is task_resource.KIND:
        for path in document.get("unset", ()):
            group, _, resource = path.partition(".")
            if group in _QUANTITIES:
                zeros = dict.fromkeys([resource] if resource else task_resource.RESOURCES, "0")
                carried[group] = {**zeros, **carried.get(group, {})}
    return carried


def _with_unset(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document of `task_resource` whose zero quantities are in ``unset``.

    A quantity that cannot be parsed stays, for `Kind.parse` to refuse.
    """
    changed, unset = dict(document), list[str]()
    for group in _QUANTITIES:
        given = document.get(group, {})
        zeros = [name for name, text in given.items() if _is_zero(text)]
        changed[group] = {name: text for name, text in given.items() if name not in zeros}
        unset += [f"{group}.{name}" for name in zeros]
    return {**changed, **({"unset": unset} if unset else {})}


def _is_zero(text: Any) -> bool:
    try:
        return quantities.parse(text) == 0
    except ValueError:
        return False


def _is_carried(kind: Kind, path: str) -> bool:
    """Whether Flyte's message can carry that a path is unset."""
    return kind is task_resource.KIND and path.partition(".")[0] in _QUANTITIES


_QUANTITIES = ("defaults", "limits")
