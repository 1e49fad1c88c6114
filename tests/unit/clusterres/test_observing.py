"""A change on a cluster marks its namespace dirty, and each check marks all."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

from tests.servers import PATIENCE_SECONDS
from trimtab_clusterres.clusters.port import Cluster
from trimtab_clusterres.queue import WorkQueue
from trimtab_clusterres.watching.observing import Observer

NEVER_SECONDS = 3600.0


class WatchedCluster:
    """Reports the namespaces of a queue as changed; an empty name is a defect."""

    def __init__(self) -> None:
        self.changed: asyncio.Queue[str] = asyncio.Queue()

    async def changes(self) -> AsyncIterator[str]:
        while name := await self.changed.get():
            yield name
        raise ZeroDivisionError("division by zero")


async def taken(queue: WorkQueue, count: int) -> list[str]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [(await queue.take()).namespace for _ in range(count)]


async def test_a_change_marks_its_namespace_and_a_watch_that_failed_marks_all() -> None:
    cluster, queue = WatchedCluster(), WorkQueue()
    observer = Observer("c", cast(Cluster, cluster), queue, lambda: ["a", "b"])
    running = asyncio.create_task(observer.run(NEVER_SECONDS))
    try:
        cluster.changed.put_nowait("c")
        assert await taken(queue, 1) == ["c"]
        cluster.changed.put_nowait("")
        assert await taken(queue, 2) == ["a", "b"]
        cluster.changed.put_nowait("d")
        assert await taken(queue, 1) == ["d"]
    finally:
        running.cancel()
        await asyncio.wait((running,))


async def test_all_namespaces_are_checked_again_and_again() -> None:
    queue = WorkQueue()
    namespaces = ["a"]
    observer = Observer("c", cast(Cluster, WatchedCluster()), queue, lambda: namespaces)
    running = asyncio.create_task(observer.run(0.01))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            item = await queue.take()
            queue.done(item)
            namespaces.append("b")
            assert await taken(queue, 2) == ["a", "b"]
    finally:
        running.cancel()
        await asyncio.wait((running,))
