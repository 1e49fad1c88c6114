"""The contract of `trimtab_clusterres.clusters.port.Cluster`: every type of cluster inherits it.

A subclass is named ``Test…`` and provides the abstract methods.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import aclosing

import pytest

from tests.servers import PATIENCE_SECONDS
from trimtab.errors import Rejected, Unavailable
from trimtab.templates.manifests import Manifest, ObjectKey
from trimtab_clusterres.clusters.port import Cluster, Inventory, Result

NAMESPACE = "alpha-development"
LATER = "beta-development"
"""A namespace whose changes are reported after those of `NAMESPACE`."""


def manifest(name: str, **data: str) -> Manifest:
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": dict(data),
    }
    return Manifest("", "ConfigMap", name, body)  # type: ignore[arg-type]  # str is JSON


def outcomes(results: Iterable[Result]) -> dict[str, str]:
    """Return the outcome of each object by its name."""
    return {result.key.name: result.outcome for result in results}


def inventory(*, created: str = "", adopted: str = "") -> dict[ObjectKey, bool]:
    """Return whether each object was created here; each letter names an object."""
    return {KEYS[name]: True for name in created} | {KEYS[name]: False for name in adopted}


A, B, C = (manifest(name) for name in "abc")
KEYS = {name: ObjectKey("", "ConfigMap", name) for name in "abc"}


class ClusterSteps(ABC):
    """Steps of the tests, which a type of cluster provides."""

    namespace = NAMESPACE
    later = LATER

    @abstractmethod
    @pytest.fixture
    def adapter(self) -> Cluster:
        """Return a cluster where nothing was applied to the namespaces."""

    @abstractmethod
    def another(self, adapter: Cluster) -> Cluster:
        """Return a second client of the same cluster, as a process that was restarted has it."""

    @abstractmethod
    def objects(self, adapter: Cluster) -> dict[str, dict[str, str]]:
        """Return the data of each ConfigMap of the namespace, read without our code."""

    @abstractmethod
    def put(self, adapter: Cluster, name: str, *, namespace: str = "", **data: str) -> None:
        """Create or replace a ConfigMap, as another client of the cluster would."""

    @abstractmethod
    def delete(self, adapter: Cluster, name: str) -> None:
        """Delete a ConfigMap, as another client of the cluster would."""

    @abstractmethod
    def lose_record(self, adapter: Cluster) -> None:
        """Delete the cluster's record of what was applied."""

    @abstractmethod
    def unavailable(self, adapter: Cluster) -> Cluster:
        """Return a client of a cluster that cannot be reached."""

    async def recorded(self, adapter: Cluster) -> dict[ObjectKey, bool]:
        """Return whether each object of the namespace's inventory was created here."""
        found = await adapter.read(self.namespace)
        return {key: entry.created for key, entry in found.entries.items()}


class ClusterContract(ClusterSteps):
    """Each test has namespaces of its own."""

    async def test_a_namespace_without_objects_has_an_empty_inventory(
        self, adapter: Cluster
    ) -> None:
        assert await adapter.read(self.namespace) == Inventory()

    async def test_apply_creates_objects_and_the_inventory_names_them(
        self, adapter: Cluster
    ) -> None:
        applied = await adapter.apply(self.namespace, [A, manifest("b", x="1")])
        assert outcomes(applied) == {"a": "applied", "b": "applied"}
        assert self.objects(adapter) == {"a": {}, "b": {"x": "1"}}
        another = self.another(adapter)
        assert await self.recorded(another) == inventory(created="ab")
        found = (await another.inventories())[self.namespace]
        assert found == await another.read(self.namespace)

    async def test_apply_changes_only_objects_that_differ(self, adapter: Cluster) -> None:
        await adapter.apply(self.namespace, [A, manifest("b", x="1")])
        applied = await adapter.apply(self.namespace, [A, manifest("b", x="2")])
        assert outcomes(applied) == {"a": "unchanged", "b": "applied"}
        assert self.objects(adapter) == {"a": {}, "b": {"x": "2"}}

    async def test_results_are_in_the_order_of_the_manifests(self, adapter: Cluster) -> None:
        for manifests in ([C, A, B], [B, manifest("a", x="1"), C]):
            applied = await adapter.apply(self.namespace, manifests)
            assert [result.key for result in applied] == [each.key for each in manifests]

    async def test_apply_restores_an_object_that_another_client_deleted(
        self, adapter: Cluster
    ) -> None:
        await adapter.apply(self.namespace, [A])
        self.delete(adapter, "a")
        assert outcomes(await adapter.apply(self.namespace, [A])) == {"a": "applied"}
        assert self.objects(adapter) == {"a": {}}

    async def test_an_object_that_existed_before_is_updated_and_never_deleted(
        self, adapter: Cluster
    ) -> None:
        self.put(adapter, "a", x="1")
        await adapter.apply(self.namespace, [manifest("a", x="1", y="2"), B])
        assert await self.recorded(adapter) == inventory(created="b", adopted="a")
        pruned = await adapter.prune(self.namespace, [KEYS["a"], KEYS["b"]])
        assert outcomes(pruned) == {"a": "released", "b": "pruned"}
        assert await adapter.read(self.namespace) == Inventory()
        assert self.objects(adapter) == {"a": {"x": "1", "y": "2"}}

    async def test_prune_deletes_the_named_objects_and_no_other(self, adapter: Cluster) -> None:
        await adapter.apply(self.namespace, [A, B, C])
        self.put(adapter, "foreign", x="1")
        foreign = KEYS["a"]._replace(name="foreign")
        pruned = await self.another(adapter).prune(self.namespace, [KEYS["a"], KEYS["c"], foreign])
        assert outcomes(pruned) == {"a": "pruned", "c": "pruned"}
        assert self.objects(adapter) == {"b": {}, "foreign": {"x": "1"}}
        assert await self.recorded(adapter) == inventory(created="b")

    async def test_prune_of_an_object_that_is_gone_removes_it_from_the_inventory(
        self, adapter: Cluster
    ) -> None:
        await adapter.apply(self.namespace, [A])
        self.delete(adapter, "a")
        await adapter.prune(self.namespace, [KEYS["a"]])
        assert await adapter.read(self.namespace) == Inventory()

    async def test_nothing_is_deleted_after_the_record_was_lost(self, adapter: Cluster) -> None:
        await adapter.apply(self.namespace, [A, B])
        self.lose_record(adapter)
        restarted = self.another(adapter)
        await restarted.apply(self.namespace, [A, C])
        pruned = await restarted.prune(self.namespace, [KEYS["a"], KEYS["b"], KEYS["c"]])
        assert outcomes(pruned) == {"a": "released", "c": "pruned"}
        assert self.objects(adapter) == {"a": {}, "b": {}}

    async def test_compare_finds_what_an_apply_would_change_and_changes_nothing(
        self, adapter: Cluster
    ) -> None:
        await adapter.apply(self.namespace, [A, B])
        assert await adapter.compare(self.namespace, [A, B]) == ()
        self.put(adapter, "a", x="edited")
        differences = await adapter.compare(self.namespace, [manifest("a", x="1"), B, C])
        assert [difference.key.name for difference in differences] == ["a", "c"]
        [edited, missing] = differences
        assert edited.live is not None
        assert (edited.live["data"], edited.desired["data"]) == ({"x": "edited"}, {"x": "1"})
        assert missing.live is None
        assert self.objects(adapter) == {"a": {"x": "edited"}, "b": {}}

    async def test_calls_for_one_namespace_take_effect_in_their_order(
        self, adapter: Cluster
    ) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(adapter.apply(self.namespace, [manifest("a", x=str(number))]))
        assert self.objects(adapter) == {"a": {"x": "19"}}

    async def test_a_cancelled_call_does_not_undo_a_later_one(self, adapter: Cluster) -> None:
        for number in range(20):
            early = asyncio.ensure_future(
                adapter.apply(self.namespace, [manifest("a", x="early", n=str(number))])
            )
            await asyncio.sleep(0)
            early.cancel()
            await adapter.apply(self.namespace, [manifest("a", x="late")])
            assert self.objects(adapter) == {"a": {"x": "late"}}

    async def test_a_manifest_that_cannot_be_applied_changes_nothing(
        self, adapter: Cluster
    ) -> None:
        await adapter.apply(self.namespace, [A])
        with pytest.raises(Rejected):
            await adapter.apply(self.namespace, [manifest("a", x="1"), manifest("../../b")])
        assert self.objects(adapter) == {"a": {}}
        assert await self.recorded(adapter) == inventory(created="a")

    async def test_an_unreachable_cluster_raises_unavailable(self, adapter: Cluster) -> None:
        adapter = self.unavailable(adapter)
        with pytest.raises(Unavailable):
            await adapter.apply(self.namespace, [A])
        with pytest.raises(Unavailable):
            await adapter.read(self.namespace)
        with pytest.raises(Unavailable):
            await adapter.prune(self.namespace, [])


class ChangesContract(ClusterSteps):
    """Reports of what other clients change."""

    async def test_a_change_by_another_client_is_reported_once(self, adapter: Cluster) -> None:
        await adapter.apply(self.namespace, [manifest("a", x="1"), B])
        await adapter.apply(self.later, [manifest("a", x="1")])
        async with aclosing(adapter.changes()) as changes:  # type: ignore[type-var]
            waiting = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(0)
            self.put(adapter, "a", x="edited")
            assert await asyncio.wait_for(waiting, PATIENCE_SECONDS) == self.namespace
            self.put(adapter, "a", x="edited", namespace=self.later)
            assert await asyncio.wait_for(anext(changes), PATIENCE_SECONDS) == self.later
            self.delete(adapter, "b")
            assert await asyncio.wait_for(anext(changes), PATIENCE_SECONDS) == self.namespace
            await adapter.apply(self.later, [manifest("a", x="1")], repair=True)
            self.put(adapter, "a", x="edited again", namespace=self.later)
            assert await asyncio.wait_for(anext(changes), PATIENCE_SECONDS) == self.later

    async def test_own_changes_and_foreign_objects_are_not_reported(self, adapter: Cluster) -> None:
        await adapter.apply(self.namespace, [A])
        await adapter.apply(self.later, [manifest("a", x="1")])
        async with aclosing(adapter.changes()) as changes:  # type: ignore[type-var]
            waiting = asyncio.ensure_future(anext(changes))
            await adapter.apply(self.namespace, [manifest("a", x="1"), B])
            await adapter.prune(self.namespace, [KEYS["a"]])
            self.put(adapter, "foreign")
            await adapter.apply(self.namespace, [manifest("a", x="2")])
            # The first report is the edit, so nothing before it was reported.
            self.put(adapter, "a", x="edited", namespace=self.later)
            assert await asyncio.wait_for(waiting, PATIENCE_SECONDS) == self.later
