"""Objects of a cluster and the fields in them that this service owns. Pure."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from trimtab_clusterres.clusters.port import FIELD_MANAGER

INVENTORY_MANAGER = f"{FIELD_MANAGER}-inventory"
"""The field manager of the inventory, which no template may drop."""
MANAGED = "trimtab.io/managed"
"""The label of every Namespace with an inventory."""
INVENTORY = "trimtab.io/inventory"
OWNER = "trimtab.io/namespace"
"""The annotation of a cluster-scoped object that names the namespace it belongs to."""
FORCE = "trimtab.io/force-conflicts"
_ANNOTATIONS = "trimtab.io/"

Object = Mapping[str, JsonValue]

_OF_THE_SERVER = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid")
_SELECTOR = re.compile(r'\[(?:[^"\]]|"(?:[^"\\]|\\.)*")*\]')
_KEYS = re.compile(r'(\w*)=("(?:[^"\\]|\\.)*"|[^,\]]+)')


def metadata(body: Object) -> dict[str, JsonValue]:
    found = body.get("metadata")
    return found if isinstance(found, dict) else {}


def uid(body: Object) -> str:
    return str(metadata(body).get("uid", ""))


def version(body: Object) -> str:
    """Return the ``metadata.resourceVersion``."""
    return str(metadata(body).get("resourceVersion", ""))


def annotation(body: Object, name: str) -> str:
    annotations = metadata(body).get("annotations")
    return str(annotations.get(name, "")) if isinstance(annotations, dict) else ""


def is_path_segment(name: str) -> bool:
    """Whether a name can be the last segment of a path."""
    return name not in ("", ".", "..") and not {"/", "%"} & set(name) and name.isprintable()


def is_terminating(body: Object) -> bool:
    return bool(metadata(body).get("deletionTimestamp"))


def with_metadata(body: Object, **fields: JsonValue) -> dict[str, JsonValue]:
    return {**body, "metadata": metadata(body) | fields}


def with_annotation(body: Object, name: str, value: str) -> dict[str, JsonValue]:
    annotations = metadata(body).get("annotations")
    present = annotations if isinstance(annotations, dict) else {}
    return with_metadata(body, annotations=present | {name: value})


def digest(value: JsonValue | Object) -> str:
    """Return a short digest that is equal for equal values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def content_digest(body: Object) -> str:
    """Return a digest of an object without the annotations that steer this service."""
    annotations = metadata(body).get("annotations")
    present = annotations if isinstance(annotations, dict) else {}
    kept: dict[str, JsonValue] = {
        name: text for name, text in present.items() if not name.startswith(_ANNOTATIONS)
    }
    return digest(with_metadata(body, annotations=kept))


def comparable(body: Object) -> dict[str, JsonValue]:
    """Return the object without what the API server alone writes."""
    kept = {key: value for key, value in metadata(body).items() if key not in _OF_THE_SERVER}
    return {key: value for key, value in body.items() if key != "status"} | {"metadata": kept}


def owned_digest(body: Object) -> str:
    """Return a digest of the fields that this service owns, with their values.

    It changes when another manager takes a field, or a process of this service applies another
    value, and not when others change their own fields.
    """
    fields = [entry.get("fieldsV1") for entry in _entries(body) if _is_applied(entry)]
    return digest([fields, [_values(body, one) for one in fields]])


def last_apply(body: Object) -> tuple[str, str]:
    """Return when this service applied the object last, and a digest of the fields it has left.

    Where another manager takes a field, the time stays. It has seconds only.
    """
    for entry in filter(_is_applied, _entries(body)):
        return str(entry.get("time", "")), digest(entry.get("fieldsV1"))
    return "", ""


def is_only_ours(body: Object) -> bool:
    """Whether no other manager owns any field, apart from the status."""
    entries = [entry for entry in _entries(body) if not entry.get("subresource")]
    return bool(entries) and all(_is_ours(entry) for entry in entries)


def has_field(value: object, path: str) -> bool:
    """Whether an object has a field, named as in a conflict: ``.spec.ports[port=80].name``."""
    if not path:
        return True
    if selector := _SELECTOR.match(path):
        keys = {key: json.loads(text) for key, text in _KEYS.findall(selector[0])}
        items = value if isinstance(value, list) else []
        rest = path[selector.end() :]
        return any(_selects(keys, item) and has_field(item, rest) for item in items)
    # A name of a field may itself have dots, as those of data have.
    return isinstance(value, Mapping) and any(
        path.startswith(f".{name}") and has_field(value[name], path[len(name) + 1 :])
        for name in value
    )


def _selects(keys: Mapping[str, object], item: object) -> bool:
    if "" in keys:
        return item == keys[""]
    # A key that is absent has a default, such as the protocol of a port.
    return isinstance(item, Mapping) and all(item.get(key, keys[key]) == keys[key] for key in keys)


def _entries(body: Object) -> list[dict[str, Any]]:
    entries = metadata(body).get("managedFields")
    return [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []


def _is_ours(entry: Mapping[str, object]) -> bool:
    return _is_applied(entry) or entry.get("manager") == INVENTORY_MANAGER


def _is_applied(entry: Mapping[str, object]) -> bool:
    return entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"


def _values(value: Any, fields: Any) -> Any:
    """Return the part of a value that a set of fields names, as ``fieldsV1`` does."""
    if not isinstance(fields, dict) or not fields:
        return value
    parts = {}
    for key, inner in fields.items():
        kind, _, name = key.partition(":")
        match kind:
            case "f":
                part = value.get(name) if isinstance(value, dict) else None
                parts[key] = _values(part, inner)
            case "k":
                parts[key] = _values(_item(value, json.loads(name)), inner)
            case "v":
                parts[key] = isinstance(value, list) and json.loads(name) in value
            case "i":
                parts[key] = value
    return parts


def _item(items: Any, keys: Mapping[str, object]) -> Any:
    """Return the item of a list that has these values."""
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict) and all(item.get(key) == keys[key] for key in keys):
            return item
    return None
