"""Finds the namespaces on a cluster that the settings do not have any longer."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from trimtab.errors import TrimtabError
from trimtab_clusterres.clusters.port import Cluster
from trimtab_clusterres.namespaces import Layout, Placement
from trimtab_clusterres.queue import Priority, WorkQueue

log = logging.getLogger(__name__)


class LostNamespaces:
    """Marks namespaces with an inventory that are not in the layout, so that they are reported.

    The events of the settings show most of them. Others have vanished while no clusterres ran,
    with the restore of an older database, or with another namespace template.
    """

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        queue: WorkQueue,
        layout: Callable[[], Layout | None],
        deadline_seconds: float,
    ) -> None:
        """``layout`` returns ``None`` before the settings are known."""
        self._name = name
        self._cluster = cluster
        self._queue = queue
        self._layout = layout
        self._deadline_seconds = deadline_seconds
        self._is_due = asyncio.Event()

    def notify(self) -> None:
        """Search soon."""
        self._is_due.set()

    async def run(self, seconds: float) -> None:
        """Search after each `notify`, and after so many seconds, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._is_due.wait()
            self._is_due.clear()
            try:
                async with asyncio.timeout(self._deadline_seconds):
                    await self.search()
            except (TrimtabError, TimeoutError) as error:
                # The next search, or the namespaces themselves, will show what is wrong.
                fields = {"cluster": self._name, "error": str(error)}
                log.warning("cluster.search_failed", extra=fields)

    async def search(self) -> None:
        """Raises what the cluster raises."""
        if self._layout() is None:
            return
        found = await self._cluster.inventories()
        layout = self._layout()
        if layout is None or self._name not in layout.clusters:
            return
        lost = [name for name in found if not layout.has(Placement(self._name, name))]
        self._queue.mark(lost, priority=Priority.CHECK)
