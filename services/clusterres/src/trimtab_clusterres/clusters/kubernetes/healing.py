"""Heals lists that a foreign edit left with an item that collides with one of ours.

Server-side apply adds our item beside the edited one where the edit changed the key of the item,
such as the number of a Service's port. The API server then refuses two ports of one name, however
often and with whatever force the apply is repeated.
"""

from pydantic import JsonValue

from trimtab_clusterres.clusters.kubernetes import objects
from trimtab_clusterres.clusters.kubernetes.connection import JSON_PATCH, Connection
from trimtab_clusterres.clusters.kubernetes.objects import Object
from trimtab_clusterres.clusters.kubernetes.problems import Refused
from trimtab_clusterres.clusters.port import FIELD_MANAGER

_MANAGER = f"{FIELD_MANAGER}-healing"
"""A manager of its own, which owns nothing afterwards: it would keep items that templates drop."""


async def replace_lists(
    connection: Connection, path: str, live: Object, body: Object, refused: Refused
) -> Object | None:
    """Give the live object our lists, and return it; ``None`` where that cannot help."""
    fields = {cause.field.partition("[")[0] for cause in refused.duplicates}
    lists = {field: _list_at(body, field) for field in fields}
    # The items of an inner list are in an item that may also hold fields of others.
    is_nested = any(cause.field.count("[") != 1 for cause in refused.duplicates)
    if not lists or is_nested or any(found is None for found in lists.values()):
        return None
    patch: list[JsonValue] = [_operation("test", ("metadata", "resourceVersion"), live)]
    patch += [_operation("replace", field.split("."), body) for field in sorted(lists)]
    return await _patch(connection, path, patch)


async def give_up_lists(connection: Connection, path: str, live: Object) -> Object:
    """Remove the healing manager from the owners of the object's fields, and return the object."""
    entries = objects.metadata(live).get("managedFields")
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        if isinstance(entry, dict) and entry.get("manager") == _MANAGER:
            where = ["metadata", "managedFields", str(index)]
            version = _operation("test", ("metadata", "resourceVersion"), live)
            return await _patch(
                connection, path, [version, {"op": "remove", "path": "/" + "/".join(where)}]
            )
    return live


async def _patch(connection: Connection, path: str, patch: list[JsonValue]) -> Object:
    query = [("fieldManager", _MANAGER)]
    answer = await connection.write("PATCH", path, query=query, body=patch, content_type=JSON_PATCH)
    return answer.body


def _operation(operation: str, field: list[str] | tuple[str, ...], value: Object) -> JsonValue:
    found: JsonValue = dict(value)
    for name in field:
        assert isinstance(found, dict)
        found = found[name]
    return {"op": operation, "path": "/" + "/".join(field), "value": found}


def _list_at(body: Object, field: str) -> list[JsonValue] | None:
    found: JsonValue = dict(body)
    for name in field.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, list) else None
