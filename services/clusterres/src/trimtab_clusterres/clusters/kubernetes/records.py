"""The inventories on Namespace objects, each written only while it is as it was read."""

from collections.abc import AsyncIterator
from typing import NamedTuple

from trimtab.errors import Unavailable
from trimtab_clusterres.clusters.kubernetes import inventory, objects
from trimtab_clusterres.clusters.kubernetes.connection import APPLY, Answer, Connection
from trimtab_clusterres.clusters.kubernetes.discovery import Kind
from trimtab_clusterres.clusters.kubernetes.inventory import Entries
from trimtab_clusterres.clusters.kubernetes.objects import INVENTORY_MANAGER, Object
from trimtab_clusterres.clusters.kubernetes.problems import Refused
from trimtab_clusterres.clusters.port import Inventory

NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)

_ATTEMPTS = 4
_PAGE = 500


class Written(NamedTuple):
    """The Namespace after its inventory was written."""

    live: Object
    was_created: bool


class Records:
    """The inventories of one cluster."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def read(self, name: str) -> Object | None:
        """Return a Namespace object; ``None`` where there is none."""
        return await self._connection.get(NAMESPACE.path("", name))

    async def all(self) -> dict[str, Inventory]:
        """Return every inventory that has entries, by the name of its namespace."""
        found: dict[str, Inventory] = {}
        try:
            async for one in self._labelled():
                record = inventory.read(one)
                if record.entries:
                    found[str(objects.metadata(one).get("name"))] = record
        except Refused as refused:
            if refused.status != 410:
                raise
            # A list that takes minutes loses its later pages; the next one reads all of them again.
            raise Unavailable(str(refused)) from refused
        return found

    async def write(self, name: str, live: Object | None, entries: Entries) -> Written:
        """Give the Namespace this inventory, and create it where there is none.

        Raises `Unavailable` where another process has written the inventory since it was read, and
        `trimtab.errors.Rejected` where it is too large.
        """
        before = objects.annotation(live or {}, objects.INVENTORY)
        for _ in range(_ATTEMPTS):
            body = inventory.manifest(name, objects.version(live or {}), entries)
            try:
                answer = await self._apply(name, body)
            except Refused as refused:
                if refused.status not in (404, 409):
                    raise
                live = await self.read(name)
                if live is None or objects.annotation(live, objects.INVENTORY) != before:
                    raise Unavailable(f"namespace {name} was changed at the same time") from refused
            else:
                return Written(answer.body, was_created=answer.status == 201)
        raise Unavailable(f"namespace {name} is changed by others all the time")

    async def _apply(self, name: str, body: Object) -> Answer:
        query = [("fieldManager", INVENTORY_MANAGER), ("force", "true")]
        path = NAMESPACE.path("", name)
        return await self._connection.write(
            "PATCH", path, query=query, body=body, content_type=APPLY
        )

    async def _labelled(self) -> AsyncIterator[Object]:
        more = ""
        while True:
            query = [("labelSelector", f"{objects.MANAGED}=true"), ("limit", str(_PAGE))]
            query += [("continue", more)] if more else []
            answer = await self._connection.request("GET", NAMESPACE.collection(), query=query)
            items = answer.body.get("items")
            for item in items if isinstance(items, list) else []:
                if isinstance(item, dict):
                    yield item
            more = str(objects.metadata(answer.body).get("continue") or "")
            if not more:
                return
