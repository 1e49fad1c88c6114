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
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": dict(data),
    }
    return Manifest("", "ConfigMap", name, body)  # type: ignore[arg-type]  # str is JSON


def outcomes(results: Iterable[Result]) -> dict[str, str]:
    """Return the outcome of each object by its name."""
    return {result.key.name: result.outcome for result in results}


def inventory(*, created: str = "", adopted: str = "") -> dict[ObjectKey, bool]:
    """Return whether each object was created here; each letter names an object."""
    return {KEYS[name]: True for name in created} | {KEYS[name]: False for name in adopted}


async def recorded(cluster: Cluster) -> dict[ObjectKey, bool]:
    """Return whether each object of the cluster's inventory was created here."""
    found = await cluster.read(NAMESPACE)
    return {key: entry.created for key, entry in found.entries.items()}


A, B, C = (manifest(name) for name in "abc")
KEYS = {name: ObjectKey("", "ConfigMap", name) for name in "abc"}


class ClusterContract(ABC):
    """Each test runs on a new cluster."""

    @abstractmethod
    @pytest.fixture
    def cluster(self) -> Cluster:
        """Return an empty cluster."""

    @abstractmethod
    def another(self, cluster: Cluster) -> Cluster:
        """Return a second client of the same cluster, as a process that was restarted has it."""

    @abstractmethod
    def objects(self, cluster: Cluster) -> dict[str, dict[str, str]]:
        """Return the data of each ConfigMap of the namespace, read without our code."""

    @abstractmethod
    def put(self, cluster: Cluster, name: str, *, namespace: str = NAMESPACE, **data: str) -> None:
        """Create or replace a ConfigMap, as another client of the cluster would."""

    @abstractmethod
    def delete(self, cluster: Cluster, name: str) -> None:
        """Delete a ConfigMap, as another client of the cluster would."""

    @abstractmethod
    def lose_record(self, cluster: Cluster) -> None:
        """Delete the cluster's record of what was applied."""

    @abstractmethod
    def make_unavailable(self, cluster: Cluster) -> None:
        """Make every later call fail."""

    async def test_a_namespace_without_objects_has_an_empty_inventory(
        self, cluster: Cluster
    ) -> None:
        assert await cluster.read(NAMESPACE) == Inventory()

    async def test_apply_creates_objects_and_the_inventory_names_them(
        self, cluster: Cluster
    ) -> None:
        applied = await cluster.apply(NAMESPACE, [A, manifest("b", x="1")])
        assert outcomes(applied) == {"a": "applied", "b": "applied"}
        assert self.objects(cluster) == {"a": {}, "b": {"x": "1"}}
        another = self.another(cluster)
        assert await recorded(another) == inventory(created="ab")
        assert set(await another.inventories()) == {NAMESPACE}

    async def test_apply_changes_only_objects_that_differ(self, cluster: Cluster) -> None:
        await cluster.apply(NAMESPACE, [A, manifest("b", x="1")])
        applied = await cluster.apply(NAMESPACE, [A, manifest("b", x="2")])
        assert outcomes(applied) == {"a": "unchanged", "b": "applied"}
        assert self.objects(cluster) == {"a": {}, "b": {"x": "2"}}

    async def test_apply_restores_an_object_that_another_client_deleted(
        self, cluster: Cluster
    ) -> None:
        await cluster.apply(NAMESPACE, [A])
        self.delete(cluster, "a")
        assert outcomes(await cluster.apply(NAMESPACE, [A])) == {"a": "applied"}
        assert self.objects(cluster) == {"a": {}}

    async def test_an_object_that_existed_before_is_updated_and_never_deleted(
        self, cluster: Cluster
    ) -> None:
        self.put(cluster, "a", x="1")
        await cluster.apply(NAMESPACE, [manifest("a", x="2"), B])
        assert await recorded(cluster) == inventory(created="b", adopted="a")
        pruned = await cluster.prune(NAMESPACE, [KEYS["a"], KEYS["b"]])
        assert outcomes(pruned) == {"a": "released", "b": "pruned"}
        assert await cluster.read(NAMESPACE) == Inventory()
        assert self.objects(cluster) == {"a": {"x": "2"}}

    async def test_prune_deletes_the_named_objects_and_no_other(self, cluster: Cluster) -> None:
        await cluster.apply(NAMESPACE, [A, B, C])
        self.put(cluster, "foreign", x="1")
        foreign = KEYS["a"]._replace(name="foreign")
        pruned = await self.another(cluster).prune(NAMESPACE, [KEYS["a"], KEYS["c"], foreign])
        assert outcomes(pruned) == {"a": "pruned", "c": "pruned"}
        assert self.objects(cluster) == {"b": {}, "foreign": {"x": "1"}}
        assert await recorded(cluster) == inventory(created="b")

    async def test_prune_of_an_object_that_is_gone_removes_it_from_the_inventory(
        self, cluster: Cluster
    ) -> None:
        await cluster.apply(NAMESPACE, [A])
        self.delete(cluster, "a")
        await cluster.prune(NAMESPACE, [KEYS["a"]])
        assert await cluster.read(NAMESPACE) == Inventory()

    async def test_nothing_is_deleted_after_the_record_was_lost(self, cluster: Cluster) -> None:
        await cluster.apply(NAMESPACE, [A, B])
        self.lose_record(cluster)
        restarted = self.another(cluster)
        await restarted.apply(NAMESPACE, [A, C])
        pruned = await restarted.prune(NAMESPACE, [KEYS["a"], KEYS["b"], KEYS["c"]])
        assert outcomes(pruned) == {"a": "released", "c": "pruned"}
        assert self.objects(cluster) == {"a": {}, "b": {}}

    async def test_compare_finds_what_an_apply_would_change_and_changes_nothing(
        self, cluster: Cluster
    ) -> None:
        await cluster.apply(NAMESPACE, [A, B])
        assert await cluster.compare(NAMESPACE, [A, B]) == ()
        self.put(cluster, "a", x="edited")
        differences = await cluster.compare(NAMESPACE, [manifest("a", x="1"), B, C])
        assert [difference.key.name for difference in differences] == ["a", "c"]
        [edited, missing] = differences
        assert edited.live is not None
        assert (edited.live["data"], edited.desired["data"]) == ({"x": "edited"}, {"x": "1"})
        assert missing.live is None
        assert self.objects(cluster) == {"a": {"x": "edited"}, "b": {}}

    async def test_a_change_by_another_client_is_reported_once(self, cluster: Cluster) -> None:
        await cluster.apply(NAMESPACE, [A, B])
        await cluster.apply(LATER, [A])
        async with aclosing(cluster.changes()) as changes:  # type: ignore[type-var]
            waiting = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(0)
            self.put(cluster, "a", x="edited")
            assert await asyncio.wait_for(waiting, PATIENCE_SECONDS) == NAMESPACE
            self.put(cluster, "a", x="edited", namespace=LATER)
            assert await asyncio.wait_for(anext(changes), PATIENCE_SECONDS) == LATER
            self.delete(cluster, "b")
            assert await asyncio.wait_for(anext(changes), PATIENCE_SECONDS) == NAMESPACE
            self.put(cluster, "a", x="edited again", namespace=LATER)
            assert await asyncio.wait_for(anext(changes), PATIENCE_SECONDS) == LATER

    async def test_own_changes_and_foreign_objects_are_not_reported(self, cluster: Cluster) -> None:
        await cluster.apply(NAMESPACE, [A])
        await cluster.apply(LATER, [A])
        async with aclosing(cluster.changes()) as changes:  # type: ignore[type-var]
            waiting = asyncio.ensure_future(anext(changes))
            await cluster.apply(NAMESPACE, [manifest("a", x="1"), B])
            await cluster.prune(NAMESPACE, [KEYS["a"]])
            self.put(cluster, "foreign")
            await cluster.apply(NAMESPACE, [manifest("a", x="2")])
            # The first report is the edit, so nothing before it was reported.
            self.put(cluster, "a", x="edited", namespace=LATER)
            assert await asyncio.wait_for(waiting, PATIENCE_SECONDS) == LATER

    async def test_calls_for_one_namespace_take_effect_in_their_order(
        self, cluster: Cluster
    ) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(cluster.apply(NAMESPACE, [manifest("a", x=str(number))]))
        assert self.objects(cluster) == {"a": {"x": "19"}}

    async def test_a_cancelled_call_does_not_undo_a_later_one(self, cluster: Cluster) -> None:
        for number in range(20):
            early = asyncio.ensure_future(
                cluster.apply(NAMESPACE, [manifest("a", x="early", n=str(number))])
            )
            await asyncio.sleep(0)
            early.cancel()
            await cluster.apply(NAMESPACE, [manifest("a", x="late")])
            assert self.objects(cluster) == {"a": {"x": "late"}}

    async def test_a_manifest_that_cannot_be_applied_changes_nothing(
        self, cluster: Cluster
    ) -> None:
        await cluster.apply(NAMESPACE, [A])
        with pytest.raises(Rejected):
            await cluster.apply(NAMESPACE, [manifest("a", x="1"), manifest("../../b")])
        assert self.objects(cluster) == {"a": {}}
        assert await recorded(cluster) == inventory(created="a")

    async def test_an_unreachable_cluster_raises_unavailable(self, cluster: Cluster) -> None:
        self.make_unavailable(cluster)
        with pytest.raises(Unavailable):
            await cluster.apply(NAMESPACE, [A])
        with pytest.raises(Unavailable):
            await cluster.read(NAMESPACE)
        with pytest.raises(Unavailable):
            await cluster.prune(NAMESPACE, [])
