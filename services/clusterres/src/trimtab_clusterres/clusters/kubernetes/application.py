"""One apply of a namespace: the Namespace, its inventory, then the other objects."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from trimtab.errors import Unavailable
from trimtab.templates.manifests import ObjectKey
from trimtab_clusterres.clusters.kubernetes import inventory, objects
from trimtab_clusterres.clusters.kubernetes.applying import Applied, Applier, Item
from trimtab_clusterres.clusters.kubernetes.connection import Connection
from trimtab_clusterres.clusters.kubernetes.inventory import Entries
from trimtab_clusterres.clusters.kubernetes.objects import Object
from trimtab_clusterres.clusters.kubernetes.observed import Observed
from trimtab_clusterres.clusters.kubernetes.records import NAMESPACE, Records
from trimtab_clusterres.clusters.port import Entry, Result

_OF_KUBERNETES = {
    ObjectKey("", "ServiceAccount", "default"),
    ObjectKey("", "ConfigMap", "kube-root-ca.crt"),
}
"""Objects that the controller manager makes in every namespace, before or after the first apply."""


class Application:
    """The objects of a namespace, and what the cluster has of them."""

    def __init__(
        self, connection: Connection, applier: Applier, observed: Observed, namespace: str
    ) -> None:
        self._connection = connection
        self._records = Records(connection)
        self._applier = applier
        self._observed = observed
        self._namespace = namespace
        self._live: Object | None = None
        self._entries: dict[ObjectKey, Entry] = {}
        self._made_namespace = False

    async def run(self, items: Sequence[Item], *, repair: bool) -> list[Result]:
        """Apply the objects, in order."""
        updated = await self._update(items)
        rest = items[len(updated) :]
        if updated and not rest:
            return updated
        return updated + await self._apply_all(rest, repair=repair)

    async def _update(self, items: Sequence[Item]) -> list[Result]:
        """Update the first objects, for as long as each is known without a read.

        They are in the inventory, because they were confirmed after that was written.
        """
        results: list[Result] = []
        for item in items:
            version = self._observed.version(item.kind, item.path) if item.kind.namespaced else ""
            applied = await self._applier.update(item, version) if version else None
            if applied is None or applied.live is None:
                break
            self._observed.saw(self._namespace, item.kind, item.path, applied.live)
            self._observed.confirm(item.kind, item.path)
            results.append(applied.result)
        return results

    async def _apply_all(self, items: Sequence[Item], *, repair: bool) -> list[Result]:
        self._live = await self._records.read(self._namespace)
        self._check_namespace(items)
        items = await self._read(items)
        self._entries = dict(inventory.read(self._live or {}).entries)
        await self._record(self._entries | {item.key: self._planned(item) for item in items})
        results: list[Result] = []
        entries = dict(self._entries)
        for item in items:
            applied = await self._apply(self._with_record(item), repair=repair)
            if item.kind == NAMESPACE:
                applied = self._with_creation(applied)
                self._live = applied.live or self._live
            results.append(applied.result)
            if applied.live is not None:
                self._observed.saw(self._namespace, item.kind, item.path, applied.live)
            entries[item.key] = _entry(item, entries[item.key], applied)
            if item.kind == NAMESPACE and applied.result.outcome == "failed":
                break
        await self._record_applied(entries, results)
        self._confirm(items, results)
        return results

    def _confirm(self, items: Sequence[Item], results: Sequence[Result]) -> None:
        for item, result in zip(items, results, strict=False):  # some may not have been tried
            if result.outcome in ("applied", "unchanged"):
                self._observed.confirm(item.kind, item.path)

    async def _record_applied(self, entries: Entries, results: Sequence[Result]) -> None:
        has_changed = any(result.outcome == "applied" for result in results)
        if not has_changed or _owned(entries) != _owned(self._entries):
            await self._record(entries)
        if self._live is not None:
            path = NAMESPACE.path("", self._namespace)
            self._observed.saw(self._namespace, NAMESPACE, path, self._live)

    def _check_namespace(self, items: Sequence[Item]) -> None:
        if self._live is None:
            if not any(item.kind == NAMESPACE for item in items):
                raise Unavailable(
                    f"namespace {self._namespace} does not exist, and no template makes it"
                )
        elif objects.is_terminating(self._live):
            raise Unavailable(
                f"namespace {self._namespace} is being deleted (Terminating); it is made again "
                "afterwards"
            )

    async def _read(self, items: Sequence[Item]) -> list[Item]:
        """Return the objects with what the cluster has of them; the reads run side by side."""

        async def read(item: Item) -> Item:
            if item.kind == NAMESPACE:
                return replace(item, live=self._live, read_at=time.monotonic())
            if self._live is None and item.kind.namespaced:
                return replace(item, read_at=time.monotonic())
            return await self._applier.reread(item)

        reads = [asyncio.ensure_future(read(item)) for item in items]
        try:
            return list(await asyncio.gather(*reads))
        finally:
            # Where one fails, the others would take the connections of later calls.
            for each in reads:
                each.cancel()

    def _planned(self, item: Item) -> Entry:
        """Return the entry of an object before it is applied."""
        entry = self._entries.get(item.key)
        if item.live is None:
            return Entry(created=item.key not in _OF_KUBERNETES)
        uid = objects.uid(item.live)
        if entry is None or (entry.uid and entry.uid != uid):
            return Entry(created=False, uid=uid)
        if entry.uid:
            return entry
        return Entry(created=entry.created and objects.is_only_ours(item.live), uid=uid)

    async def _record(self, entries: Entries) -> None:
        """Write the inventory where it changes; that makes the Namespace where there is none."""
        if self._live is not None and entries == self._entries:
            return
        written = await self._records.write(self._namespace, self._live, entries)
        self._made_namespace |= written.was_created
        self._live, self._entries = written.live, dict(entries)

    def _with_creation(self, applied: Applied) -> Applied:
        """Add that the Namespace was created, which only the write of the inventory knows."""
        if not (self._made_namespace and applied.is_current):
            return applied
        result = replace(applied.result, outcome="applied")
        return replace(applied, result=result, was_created=True)

    def _with_record(self, item: Item) -> Item:
        recorded = self._entries[item.key].digest
        live = self._live if item.kind == NAMESPACE else item.live
        return replace(item, live=live, recorded=recorded)

    async def _apply(self, item: Item, *, repair: bool) -> Applied:
        owner = objects.annotation(item.live or {}, objects.OWNER)
        if not item.kind.namespaced and owner not in ("", self._namespace):
            text = f"belongs to namespace {owner}, by its annotation {objects.OWNER}"
            return Applied(Result(item.key, "failed", text), item.live)
        return await self._applier.apply(item, repair=repair)


def _owned(entries: Entries) -> dict[ObjectKey, Entry]:
    """Return the entries without digests.

    A change of these alone is recorded at the next call that applies nothing: a change of the
    settings then costs one write and not two, and until then the memory has the digest.
    """
    return {key: replace(entry, digest="") for key, entry in entries.items()}


def _entry(item: Item, planned: Entry, applied: Applied) -> Entry:
    """Return the entry of an object after it was applied."""
    uid = objects.uid(applied.live or {})
    digest = item.content if applied.is_current else planned.digest
    if item.key in _OF_KUBERNETES or not uid:
        return Entry(planned.created, uid or planned.uid, digest)
    # An object that was not there when it was read, and was not created, was made by others.
    created = planned.created and (applied.was_created or item.live is not None)
    return Entry(created, uid, digest)
