"""Decisions about objects that something else changed on a cluster. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from pydantic import JsonValue

from trimtab.errors import Invalid
from trimtab.templates.manifests import Manifest
from trimtab_clusterres.clusters.port import FIELD_MANAGER, Difference

Policy = Literal["enforce", "warn", "off"]
"""How a change by something else is treated: it is taken back, reported or ignored."""
Field = tuple[str, ...]
"""The keys that lead to a field of an object."""

ANNOTATION = "trimtab.io/drift"
"""In a template: the policy of the object, instead of that of the cluster."""
CONTENT = "trimtab.io/content"
"""On the cluster, where the policy is not ``enforce``: the digest of what was applied last. By
it, a change of the settings, which is applied, is not mistaken for one by something else."""

_FREE_REPAIRS = 3
_FIRST_DELAY_SECONDS = 4.0
_LONGEST_DELAY_SECONDS = 300.0
_QUIET_SECONDS = 60.0
"""After so long beyond the delay without a repair, the next one is the first again."""
_SHOWN_FIELDS = 5
_SET_BY_SERVER = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")


def policy_of(manifest: Manifest, default: Policy) -> Policy:
    """Return the policy of an object. Raises `Invalid` where its annotation is none."""
    value = _annotations(manifest.body).get(ANNOTATION, default)
    for policy in get_args(Policy):
        if value == policy:
            return policy  # type: ignore[no-any-return]  # get_args has no type
    raise Invalid(f"{manifest}: annotation {ANNOTATION}", value, '"enforce", "warn", "off"')


def marked(manifest: Manifest) -> Manifest:
    """Return the manifest with its own digest as the annotation `CONTENT`."""
    metadata = manifest.body["metadata"]
    assert isinstance(metadata, dict)
    annotations = {**_annotations(manifest.body), CONTENT: manifest.digest}
    body = {**manifest.body, "metadata": {**metadata, "annotations": annotations}}
    return replace(manifest, body=body)


def is_applied(manifest: Manifest, live: Mapping[str, JsonValue]) -> bool:
    """Whether this content, which is marked, is what was applied to the object last."""
    return _annotations(live).get(CONTENT) == _annotations(manifest.body)[CONTENT]


def changed_fields(difference: Difference) -> list[Field]:
    """Return the fields whose live value is not the desired one; a list is one field."""
    return list(_changed((), _own(difference.live or {}), _own(difference.desired)))


def other_managers(live: Mapping[str, JsonValue], fields: Iterable[Field]) -> list[str]:
    """Return the other field managers that have set one of these fields."""
    fields = list(fields)
    names = {
        manager: None
        for manager, owned in _managers(live)
        if manager != FIELD_MANAGER and any(_owns(owned, field) for field in fields)
    }
    return list(names)


def fields_of_others(difference: Difference) -> list[Field]:
    """Return the changed fields that only other managers have set.

    An apply without them takes nothing back, and removes nothing.
    """
    live = difference.live or {}
    owned_here = [owned for manager, owned in _managers(live) if manager == FIELD_MANAGER]
    return [
        field
        for field in changed_fields(difference)
        if other_managers(live, [field]) and not any(_owns(owned, field) for owned in owned_here)
    ]


def without(manifest: Manifest, fields: Iterable[Field]) -> Manifest:
    body: Mapping[str, JsonValue] = manifest.body
    for field in fields:
        body = _without(body, field)
    return replace(manifest, body=dict(body))


def description(difference: Difference, fields: Sequence[Field] = ()) -> str:
    """Return what something else changed, without values: they may be secret.

    ``fields`` are those to name where that is not every changed one.
    """
    if difference.live is None:
        return "deleted"
    fields = fields or changed_fields(difference)
    paths = [".".join(field) for field in fields[:_SHOWN_FIELDS]]
    more = f" and {len(fields) - _SHOWN_FIELDS} more" if len(fields) > _SHOWN_FIELDS else ""
    managers = other_managers(difference.live, fields)
    by = f" by {', '.join(managers)}" if managers else ""
    return f"changed{by}: {', '.join(paths)}{more}"


@dataclass(frozen=True)
class Repairs:
    """How often an object was repaired in a row, so that two managers do not fight hot."""

    count: int = 0
    last: float = 0.0
    """When the last one was, in seconds of the event loop."""

    @property
    def next(self) -> float:
        """The earliest time of the next one; the delay doubles after the first few."""
        if self.count < _FREE_REPAIRS:
            return self.last
        doubled = _FIRST_DELAY_SECONDS * 2.0 ** min(self.count - _FREE_REPAIRS, 16)
        return self.last + min(doubled, _LONGEST_DELAY_SECONDS)

    def repaired(self, now: float) -> "Repairs":
        is_quiet = now > self.next + _QUIET_SECONDS
        return Repairs(1 if is_quiet else self.count + 1, now)


def _changed(field: Field, live: JsonValue, desired: JsonValue) -> Iterator[Field]:
    if isinstance(live, dict) and isinstance(desired, dict):
        for key in {**desired, **live}:
            yield from _changed((*field, key), live.get(key), desired.get(key))
    elif live != desired:
        yield field


def _own(body: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the fields that managers set."""
    metadata = body.get("metadata")
    own = dict(metadata) if isinstance(metadata, dict) else {}
    for key in _SET_BY_SERVER:
        own.pop(key, None)
    annotations = _annotations(body)
    own["annotations"] = {key: text for key, text in annotations.items() if key != CONTENT}
    return {key: value for key, value in body.items() if key != "status"} | {"metadata": own}


def _annotations(body: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    metadata = body.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return annotations if isinstance(annotations, dict) else {}


def _managers(live: Mapping[str, JsonValue]) -> Iterator[tuple[str, JsonValue]]:
    """Yield the name and the fields of each manager that has set some, except in the status."""
    metadata = live.get("metadata")
    entries = metadata.get("managedFields") if isinstance(metadata, dict) else None
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and not entry.get("subresource"):
            yield str(entry.get("manager")), entry.get("fieldsV1")


def _owns(owned: JsonValue, field: Field) -> bool:
    """Whether ``fieldsV1`` has the field, something in it, or the whole of what it is in."""
    for key in field:
        if owned == {}:
            return True
        if not isinstance(owned, dict) or f"f:{key}" not in owned:
            return False
        owned = owned[f"f:{key}"]
    return True


def _without(body: Mapping[str, JsonValue], field: Field) -> dict[str, JsonValue]:
    first, *rest = field
    inner = body.get(first)
    if rest and isinstance(inner, dict):
        return {**body, first: _without(inner, tuple(rest))}
    return {key: value for key, value in body.items() if key != first}
