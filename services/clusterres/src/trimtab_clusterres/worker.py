"""Takes the dirty namespaces of one cluster from its queue, again where they fail."""

import asyncio
import logging
import time

from trimtab.messages.events import TRACEPARENT
from trimtab.runtime import tasks, telemetry
from trimtab_clusterres import metrics
from trimtab_clusterres.leadership import Leadership
from trimtab_clusterres.queue import Item, WorkQueue
from trimtab_clusterres.reconciling import Reconciler
from trimtab_clusterres.shortening import shorten
from trimtab_clusterres.statuses import Attempt

log = logging.getLogger(__name__)

_CONCURRENCY = 8
"""Namespaces of one cluster at once; most of the time is spent waiting for the cluster."""

_SHOWN_ERROR = 300


class Worker:
    """Works on the queue of one cluster, so that a cluster that hangs delays no other.

    What fails is retried with a back-off, also where a template is wrong, because templates are
    edited without an event.
    """

    def __init__(
        self,
        reconciler: Reconciler,
        queue: WorkQueue,
        leadership: Leadership,
        concurrency: int = _CONCURRENCY,
    ) -> None:
        self._reconciler = reconciler
        self._queue = queue
        self._leadership = leadership
        self._concurrency = concurrency
        self._succeeded_at = 0.0
        self._failed_at = 0.0
        self._error = ""

    def summary(self) -> dict[str, object]:
        """Return the state of the cluster's namespaces, for ``/readyz``."""
        now = time.monotonic()
        facts: dict[str, object] = {"dirty": self._queue.depth, "failing": self._queue.failing}
        if self._succeeded_at:
            facts["succeeded_seconds_ago"] = round(now - self._succeeded_at, 1)
        if self._failed_at:
            facts["failed_seconds_ago"] = round(now - self._failed_at, 1)
            facts["error"] = shorten(self._error, _SHOWN_ERROR)
        return facts

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._concurrency):
                    group.create_task(tasks.keep_running(self._work, "worker.failed"))
        finally:
            self._reconciler.close()

    async def _work(self) -> None:
        while True:
            await self._leadership.wait()
            item = await self._queue.take()
            try:
                attempt = await self._try(item)
                # All namespaces are marked where this replica becomes active again.
                self._settle(item, attempt if self._leadership.is_active else None)
            finally:
                # A namespace that stays taken is never worked on again.
                self._queue.done(item)

    async def _try(self, item: Item) -> Attempt | None:
        carrier = {TRACEPARENT: item.traceparent} if item.traceparent else None
        try:
            with telemetry.span("render namespace", carrier) as span:
                span.set_attribute("trimtab.namespace", item.namespace)
                span.set_attribute("trimtab.cluster", self._reconciler.name)
                self._leadership.check()
                return await self._reconciler.reconcile(item.namespace, verify=item.verify)
        except Exception as failure:  # noqa: BLE001  # it ends this namespace's try only
            return self._reconciler.failed(item.namespace, failure)

    def _settle(self, item: Item, attempt: Attempt | None) -> None:
        cluster = self._reconciler.name
        fields: dict[str, object] = {"cluster": cluster, "namespace": item.namespace}
        if attempt is None:
            self._queue.succeeded(item.namespace)  # nothing is left to be retried
        elif attempt.error:
            delay = self._queue.failed(item.namespace, item.changed_at)
            self._failed_at, self._error = time.monotonic(), attempt.error
            metrics.count_failure(cluster)
            log.warning(
                "namespace.failed", extra={**fields, "error": attempt.error, "delay": delay}
            )
        else:
            self._queue.succeeded(item.namespace)
            self._succeeded_at = time.monotonic()
            metrics.count_success(cluster, item.changed_at)
            log.info("namespace.ready", extra={**fields, "revision": attempt.revision})
