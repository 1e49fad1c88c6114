"""Marks the namespaces of a cluster dirty when something else changes their objects there."""

import asyncio
import logging
import random
from collections.abc import Callable, Collection

from trimtab.runtime import tasks
from trimtab_clusterres.clusters.port import Cluster
from trimtab_clusterres.queue import Priority, WorkQueue

log = logging.getLogger(__name__)

_JITTER = 0.1


class Observer:
    """Watches one cluster, and has all of it checked again and again.

    The check finds what no watch reports: a kind that may not be watched, a change during an
    outage. An object that is as it should be costs no write.
    """

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        queue: WorkQueue,
        namespaces: Callable[[], Collection[str]],
    ) -> None:
        self._name = name
        self._cluster = cluster
        self._queue = queue
        self._namespaces = namespaces

    async def run(self, check_seconds: float) -> None:
        """Observe until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(tasks.keep_running(self._watch, "cluster.watch_failed"))
            group.create_task(self._check(check_seconds))

    async def _watch(self) -> None:
        try:
            async for namespace in self._cluster.changes():
                fields = {"cluster": self._name, "namespace": namespace}
                log.info("namespace.drifted", extra=fields)
                self._queue.mark([namespace], verify=True)
        finally:
            # Nothing is reported until the next watch begins.
            self._mark_all()

    async def _check(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds * random.uniform(1 - _JITTER, 1 + _JITTER))
            self._mark_all()

    def _mark_all(self) -> None:
        self._queue.mark(self._namespaces(), priority=Priority.CHECK, verify=True)
