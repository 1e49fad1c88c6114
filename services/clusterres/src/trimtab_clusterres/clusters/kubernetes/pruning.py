"""Deletes the objects of an inventory that were created here."""

from collections.abc import Collection

from pydantic import JsonValue

from trimtab.templates.manifests import ObjectKey
from trimtab_clusterres.clusters.kubernetes import inventory, objects
from trimtab_clusterres.clusters.kubernetes.applying import Applier, terminating
from trimtab_clusterres.clusters.kubernetes.connection import Connection
from trimtab_clusterres.clusters.kubernetes.discovery import Discovery, Kind, UnknownKind
from trimtab_clusterres.clusters.kubernetes.objects import Object
from trimtab_clusterres.clusters.kubernetes.observed import Observed
from trimtab_clusterres.clusters.kubernetes.problems import Refused
from trimtab_clusterres.clusters.kubernetes.records import NAMESPACE, Records
from trimtab_clusterres.clusters.port import Entry, Result


class Pruning:
    """One prune of a namespace."""

    def __init__(
        self,
        connection: Connection,
        discovery: Discovery,
        applier: Applier,
        observed: Observed,
        namespace: str,
    ) -> None:
        self._connection = connection
        self._discovery = discovery
        self._applier = applier
        self._observed = observed
        self._namespace = namespace

    async def run(self, keys: Collection[ObjectKey]) -> list[Result]:
        """Delete or release the objects, the Namespace last, and shorten the inventory."""
        records = Records(self._connection)
        live = await records.read(self._namespace)
        entries = dict(inventory.read(live or {}).entries)
        results = []
        for key in sorted(set(keys) & entries.keys(), key=lambda key: (_is_namespace(key), key)):
            result, is_gone = await self._prune(key, entries[key])
            results.append(result)
            if is_gone:
                del entries[key]
        deleted = any(_is_namespace(one.key) and one.outcome == "pruned" for one in results)
        if live is not None and not deleted and entries != inventory.read(live).entries:
            await records.write(self._namespace, live, entries)
        return results

    async def _prune(self, key: ObjectKey, entry: Entry) -> tuple[Result, bool]:
        """Return the outcome, and whether the object leaves the inventory.

        One that is being deleted stays until its finalizers have run.
        """
        try:
            kind = await self._kind(key)
        except UnknownKind:
            # Its objects went with the kind.
            return Result(key, "pruned"), True
        path = kind.path(self._namespace, key.name)
        self._applier.forget(path)
        self._observed.forget(kind, path)
        live = await self._connection.get(path) if entry.created else None
        if live is None:
            return Result(key, "pruned" if entry.created else "released"), True
        if not (_is_ours(entry, live) and self._is_of_namespace(kind, live)):
            return Result(key, "released"), True
        if objects.is_terminating(live):
            return Result(key, "failed", terminating(live)), False
        return await self._delete(key, path, objects.uid(live))

    def _is_of_namespace(self, kind: Kind, live: Object) -> bool:
        """Whether an object belongs to the namespace, also where its inventory was forged."""
        is_shared = not kind.namespaced and kind != NAMESPACE
        return not is_shared or objects.annotation(live, objects.OWNER) == self._namespace

    async def _kind(self, key: ObjectKey) -> Kind:
        if _is_namespace(key):
            return NAMESPACE
        return await self._discovery.kind_of_group(key.group, key.kind)

    async def _delete(self, key: ObjectKey, path: str, uid: str) -> tuple[Result, bool]:
        body: dict[str, JsonValue] = {
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        try:
            answer = await self._connection.write("DELETE", path, body=body)
        except Refused as refused:
            if refused.status == 404:
                return Result(key, "pruned"), True
            if refused.status == 409:
                # It was deleted and made again by another client meanwhile.
                return Result(key, "released"), True
            return Result(key, "failed", str(refused)), False
        # The answer is the object where finalizers keep it, and a Status where it is gone.
        return Result(key, "pruned"), not objects.is_terminating(answer.body)


def _is_namespace(key: ObjectKey) -> bool:
    return key[:2] == ("", "Namespace")


def _is_ours(entry: Entry, live: Object) -> bool:
    if entry.uid:
        return entry.uid == objects.uid(live)
    return objects.is_only_ours(live)
