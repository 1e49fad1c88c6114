"""A Kubernetes cluster: the calls of the port, each in order for its namespace."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from trimtab.errors import Rejected, Unavailable
from trimtab.templates.manifests import Manifest, ObjectKey
from trimtab_clusterres.clusters.kubernetes import inventory, objects
from trimtab_clusterres.clusters.kubernetes.access import Access
from trimtab_clusterres.clusters.kubernetes.application import Application
from trimtab_clusterres.clusters.kubernetes.applying import Applier, Item, message
from trimtab_clusterres.clusters.kubernetes.connection import Connection
from trimtab_clusterres.clusters.kubernetes.discovery import Discovery
from trimtab_clusterres.clusters.kubernetes.observed import Observed
from trimtab_clusterres.clusters.kubernetes.permissions import missing
from trimtab_clusterres.clusters.kubernetes.placing import check_names, place
from trimtab_clusterres.clusters.kubernetes.problems import Refused
from trimtab_clusterres.clusters.kubernetes.pruning import Pruning
from trimtab_clusterres.clusters.kubernetes.records import NAMESPACE, Records
from trimtab_clusterres.clusters.kubernetes.watching import Watches
from trimtab_clusterres.clusters.port import ApiKind, Difference, Inventory, Result

T = TypeVar("T")


class KubernetesCluster:
    """A `Cluster` behind an API server."""

    def __init__(
        self,
        access: Access,
        *,
        request_timeout_seconds: float = 10.0,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        """``fence`` is called directly before each write; where it raises, nothing is sent."""
        self._connection = Connection(access, timeout_seconds=request_timeout_seconds, fence=fence)
        self._discovery = Discovery(self._connection)
        self._records = Records(self._connection)
        self._applier = Applier(self._connection, self._discovery)
        self._observed = Observed(time.monotonic)
        self._watches = Watches(self._connection, self._observed)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._calls: set[asyncio.Task[Any]] = set()

    async def read(self, namespace: str) -> Inventory:
        """Return the inventory of a namespace; empty where the namespace does not exist."""
        return inventory.read(await self._records.read(namespace) or {})

    async def inventories(self) -> Mapping[str, Inventory]:
        """Return the inventory of every namespace that has one."""
        return await self._records.all()

    async def apply(
        self, namespace: str, manifests: Sequence[Manifest], *, repair: bool = False
    ) -> tuple[Result, ...]:
        """Apply the objects, the Namespace first; one of a kind that is not served fails alone.

        Raises `trimtab.errors.Unavailable` where the namespace does not exist and no template makes
        it, and while it is being deleted.
        """
        check_names(manifests)

        async def work() -> tuple[Result, ...]:
            items, failed = await place(self._discovery, namespace, manifests)
            application = Application(self._connection, self._applier, self._observed, namespace)
            async with AsyncExitStack() as locked:
                for path in sorted(_shared_paths(items)):
                    # Two namespaces that want one object must see each other's.
                    await locked.enter_async_context(self._lock(path))
                results = await application.run(items, repair=repair)
            by_key = {result.key: result for result in (*failed, *results)}
            return tuple(by_key[one.key] for one in manifests if one.key in by_key)

        return await self._in_order(namespace, work)

    async def compare(
        self, namespace: str, manifests: Sequence[Manifest]
    ) -> tuple[Difference, ...]:
        """Return the objects that a dry run of the API server changes.

        Raises `trimtab.errors.Rejected` where the API server refuses a manifest.
        """
        check_names(manifests)

        async def work() -> tuple[Difference, ...]:
            items, failed = await place(self._discovery, namespace, manifests)
            if failed:
                raise Rejected(f"{failed[0].key}: {failed[0].message}")
            found = [await self._difference(namespace, item) for item in items]
            return tuple(difference for difference in found if difference is not None)

        return await self._in_order(namespace, work)

    async def prune(self, namespace: str, keys: Collection[ObjectKey]) -> tuple[Result, ...]:
        """Delete these objects where they were created here; finalizers are not waited for.

        An object that finalizers keep stays in the inventory, and fails in later calls until it is
        gone.
        """
        pruning = Pruning(
            self._connection, self._discovery, self._applier, self._observed, namespace
        )

        async def work() -> tuple[Result, ...]:
            return tuple(await pruning.run(keys))

        return await self._in_order(namespace, work)

    def changes(self) -> AsyncIterator[str]:
        """Watch the objects that `apply` and `compare` have seen."""
        return self._watches.changes()

    @property
    def unwatched(self) -> Sequence[str]:
        """The kinds whose watch is refused, and why."""
        return self._watches.refusals

    async def missing_permissions(self, kinds: Collection[ApiKind]) -> tuple[str, ...]:
        """Return the verbs that access reviews deny, for each kind and for namespaces."""
        return await missing(self._connection, self._discovery, kinds)

    async def close(self) -> None:
        """Close all connections; calls that still run end."""
        await self._connection.close()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _difference(self, namespace: str, item: Item) -> Difference | None:
        live = await self._connection.get(item.path)
        if live is not None and not self._observed.knows(item.kind, item.path):
            self._observed.saw(namespace, item.kind, item.path, live)
        try:
            desired = await self._applier.dry_run(item)
        except Refused as refused:
            if refused.is_of_terminating_namespace:
                raise Unavailable(str(refused)) from refused
            if refused.status != 404:
                raise Rejected(f"{item.key}: {message(item, refused)}") from refused
            # The namespace does not exist yet.
            desired = item.body
        if live is not None and objects.comparable(live) == objects.comparable(desired):
            return None
        return Difference(item.key, live, desired)

    async def _in_order(self, namespace: str, work: Callable[[], Awaitable[T]]) -> T:
        """Work on a namespace after earlier calls for it have ended.

        A cancelled call ends as soon as the request that it has sent is answered; a later one waits
        for that, and its caller does not.
        """

        async def call() -> T:
            async with self._lock(namespace):
                with self._observed.working_on(namespace):
                    return await work()

        running = asyncio.create_task(call())
        self._calls.add(running)
        running.add_done_callback(self._calls.discard)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            running.cancel()
            raise

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


def _shared_paths(items: Sequence[Item]) -> set[str]:
    """Return the paths of cluster-scoped objects, which other namespaces may want too."""
    return {item.path for item in items if not item.kind.namespaced and item.kind != NAMESPACE}
