"""Brings the dirty namespaces of one cluster up to date, and publishes the status of each."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from nats.aio.client import Client

from trimtab.errors import TrimtabError, Unavailable
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import TRACEPARENT, NamespaceStatus, ObjectStatus
from trimtab.runtime import bus, tasks, telemetry
from trimtab.templates.files import read_templates
from trimtab.templates.manifests import Manifest
from trimtab.templates.rendering import render
from trimtab_clusterres import metrics
from trimtab_clusterres.clusters.port import Cluster, Result
from trimtab_clusterres.namespaces import Layout, Placement
from trimtab_clusterres.queue import Item, WorkQueue

log = logging.getLogger(__name__)

_CONCURRENCY = 4
"""Namespaces of one cluster at once; most of the time is spent waiting for the cluster."""


class Worker:
    """Works on the queue of one cluster, so that a cluster that hangs delays no other.

    All templates of a namespace are rendered before any object is applied. What fails is retried
    with a back-off, also where a template is wrong, because templates are edited without an event.
    """

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        queue: WorkQueue,
        *,
        client: Client,
        layout: Callable[[], Layout],
        templates: Path,
        deadline_seconds: float,
    ) -> None:
        self._name = name
        self._cluster = cluster
        self._queue = queue
        self._client = client
        self._layout = layout
        self._templates = templates
        self._deadline_seconds = deadline_seconds

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_CONCURRENCY):
                group.create_task(tasks.keep_running(self._work, "worker.failed"))

    async def _work(self) -> None:
        while True:
            item = await self._queue.take()
            carrier = {TRACEPARENT: item.traceparent} if item.traceparent else None
            try:
                with telemetry.span("render namespace", carrier) as span:
                    span.set_attribute("trimtab.namespace", item.namespace)
                    span.set_attribute("trimtab.cluster", self._name)
                    await self._update(item)
            except Exception as failure:  # noqa: BLE001  # it ends this namespace's try only
                self._report(item.namespace, failure)
                self._settle(item, 0, _text(failure))
            finally:
                # A namespace that stays taken is never worked on again.
                self._queue.done(item)

    async def _update(self, item: Item) -> None:
        layout = self._layout()
        if not layout.has(Placement(self._name, item.namespace)):
            self._queue.succeeded(item.namespace)  # nothing is left to be retried
            return
        status = await self._applied_status(layout, item.namespace)
        error = status.error
        try:
            subject = subjects.namespace(self._name, item.namespace)
            await bus.publish(self._client, subjects.NAMESPACES, subject, status)
        except Exception as failure:  # noqa: BLE001  # it ends this namespace's try only
            self._report(item.namespace, failure)
            error = error or _text(failure)
        self._settle(item, status.revision, error)

    def _settle(self, item: Item, revision: int, error: str) -> None:
        fields: dict[str, object] = {"cluster": self._name, "namespace": item.namespace}
        if error:
            delay = self._queue.failed(item.namespace, item.changed_at)
            metrics.count_failure(self._name)
            log.warning("namespace.failed", extra={**fields, "error": error, "delay": delay})
        else:
            self._queue.succeeded(item.namespace)
            metrics.count_success(self._name, item.changed_at)
            log.info("namespace.ready", extra={**fields, "revision": revision})

    async def _applied_status(self, layout: Layout, namespace: str) -> NamespaceStatus:
        """Render and apply the namespace, and return how that went."""
        revision = layout.settings.revision
        target = layout.targets[namespace][0]
        objects: tuple[str, ...] = ()
        results: tuple[Result, ...] = ()
        error = ""
        began = time.monotonic()
        try:
            # Not in the thread, because the settings change whenever this loop is free.
            attributes = layout.attributes(namespace)
            manifests = await self._render(namespace, attributes)
            objects = tuple(str(manifest) for manifest in manifests)
            results = await self._apply(namespace, manifests)
            error = _first_failure(results)
        except Exception as failure:  # noqa: BLE001  # it ends this namespace's try only
            self._report(namespace, failure)
            error = _text(failure)
        return NamespaceStatus(
            cluster=self._name,
            namespace=namespace,
            project=target.project,
            domain=target.domain,
            revision=revision,
            state="failed" if error else "ready",
            usable=not error,
            objects=objects,
            details=tuple(_detail(result) for result in results),
            seconds=round(time.monotonic() - began, 3),
            error=error,
            at=datetime.now(UTC),
        )

    def _report(self, namespace: str, failure: Exception) -> None:
        """Log a defect with its traceback; what is to be expected is logged with the outcome."""
        if not isinstance(failure, TrimtabError):
            fields = {"cluster": self._name, "namespace": namespace}
            tasks.report_failure("namespace.defect", failure, fields)

    async def _render(
        self, namespace: str, attributes: Mapping[Scope, Mapping[str, str]]
    ) -> list[Manifest]:
        def work() -> list[Manifest]:
            return render(read_templates(self._templates), namespace, attributes)

        with metrics.measure_render():
            return await asyncio.to_thread(work)

    async def _apply(self, namespace: str, manifests: list[Manifest]) -> tuple[Result, ...]:
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await self._cluster.apply(namespace, manifests, repair=True)
        except TimeoutError as error:
            raise Unavailable(
                f"cluster {self._name} did not answer within {self._deadline_seconds:g} s"
            ) from error


def _first_failure(results: Iterable[Result]) -> str:
    failed = (one for one in results if one.outcome in ("failed", "conflicted"))
    return next((f"{one.key}: {one.message}" for one in failed), "")


def _detail(result: Result) -> ObjectStatus:
    return ObjectStatus(
        object=str(result.key),
        outcome=result.outcome,
        message=result.message,
        seconds=round(result.seconds, 3),
    )


def _text(failure: Exception) -> str:
    text = str(failure)
    if not isinstance(failure, TrimtabError):
        text = f"a defect of clusterres: {type(failure).__name__}: {text}"
    # The name of a file may be no text, and a status could not hold it.
    return text.encode(errors="backslashreplace").decode()
