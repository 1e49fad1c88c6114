"""The inventory of a namespace, in an annotation of its Namespace object. Pure."""

import json
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from trimtab.errors import Rejected
from trimtab.templates.manifests import ObjectKey
from trimtab_clusterres.clusters.kubernetes import objects
from trimtab_clusterres.clusters.kubernetes.objects import Object
from trimtab_clusterres.clusters.port import Entry, Inventory

MAX_BYTES = 200_000
"""Size of an inventory; Kubernetes stores 256 KiB of annotations for an object."""

Entries = Mapping[ObjectKey, Entry]


class _Object(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    group: str = ""
    kind: str
    name: str
    created: bool = False
    uid: str = ""
    digest: str = ""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    objects: tuple[_Object, ...] = ()


def read(namespace_object: Object) -> Inventory:
    """Return the inventory; one that cannot be read is empty, so that what exists is adopted.

    Who may edit the Namespace can forge it, so objects that no template can make are left out.
    """
    try:
        text = objects.annotation(namespace_object, objects.INVENTORY)
        record = _Record.model_validate_json(text or "{}")
    except ValidationError:
        return Inventory()
    name = str(objects.metadata(namespace_object).get("name", ""))
    return Inventory(
        {
            ObjectKey(one.group, one.kind, one.name): Entry(one.created, one.uid, one.digest)
            for one in record.objects
            if _can_be_of(name, one)
        }
    )


def _can_be_of(namespace: str, found: _Object) -> bool:
    is_other = (found.group, found.kind) == ("", "Namespace") and found.name != namespace
    return objects.is_path_segment(found.name) and not is_other


def manifest(name: str, version: str, entries: Entries) -> dict[str, JsonValue]:
    """Return what gives a Namespace this inventory, if it has this resourceVersion still.

    Raises `Rejected` where the inventory is too large to be stored.
    """
    metadata: dict[str, JsonValue] = {"name": name}
    if version:
        metadata["resourceVersion"] = version
    if entries:
        text = _text(entries)
        if len(text) > MAX_BYTES:
            raise Rejected(
                f"namespace {name}: the record of {len(entries)} objects has {len(text)} bytes; "
                f"allowed: {MAX_BYTES}; use fewer objects or shorter names"
            )
        metadata["labels"] = {objects.MANAGED: "true"}
        metadata["annotations"] = {objects.INVENTORY: text}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _text(entries: Entries) -> str:
    record = _Record(objects=tuple(_objects(entries)))
    # Only the record's own characters matter for the size.
    return json.dumps(record.model_dump(exclude_defaults=True), separators=(",", ":"))


def _objects(entries: Entries) -> Iterable[_Object]:
    for key, entry in sorted(entries.items()):
        yield _Object(
            group=key.group,
            kind=key.kind,
            name=key.name,
            created=entry.created,
            uid=entry.uid,
            digest=entry.digest,
        )
