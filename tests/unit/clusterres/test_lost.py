"""The search marks namespaces with an inventory that the settings do not have."""

import asyncio
from collections.abc import Mapping
from typing import cast

from tests.servers import PATIENCE_SECONDS
from tests.unit.clusterres.test_namespaces import layout
from trimtab.errors import Unavailable
from trimtab.messages.events import ClusterChanged
from trimtab_clusterres.clusters.port import Cluster, Inventory
from trimtab_clusterres.namespaces import Layout
from trimtab_clusterres.queue import WorkQueue
from trimtab_clusterres.watching.lost import LostNamespaces


class FakeCluster:
    def __init__(self) -> None:
        self.errors: list[Exception] = []

    async def inventories(self) -> Mapping[str, Inventory]:
        if self.errors:
            raise self.errors.pop()
        return dict.fromkeys(["alpha-development", "gone-development"], Inventory())


def lost(queue: WorkQueue, cluster: FakeCluster, known: Layout | None) -> LostNamespaces:
    return LostNamespaces("east", cast(Cluster, cluster), queue, lambda: known, PATIENCE_SECONDS)


async def test_a_namespace_that_no_project_has_is_marked() -> None:
    queue = WorkQueue()
    await lost(queue, FakeCluster(), layout()).search()
    assert queue.depth == 1
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert (await queue.take()).namespace == "gone-development"


async def test_nothing_is_marked_before_the_settings_are_known_or_on_a_disabled_cluster() -> None:
    queue = WorkQueue()
    await lost(queue, FakeCluster(), None).search()
    disabled = layout(ClusterChanged(name="east", enabled=False))
    await lost(queue, FakeCluster(), disabled).search()
    assert queue.depth == 0


async def test_a_cluster_that_fails_is_searched_again() -> None:
    queue, cluster = WorkQueue(), FakeCluster()
    cluster.errors = [Unavailable("no route"), TimeoutError()]
    running = asyncio.create_task(lost(queue, cluster, layout()).run(0.01))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await queue.take()).namespace == "gone-development"
    finally:
        running.cancel()
        await asyncio.wait((running,))
