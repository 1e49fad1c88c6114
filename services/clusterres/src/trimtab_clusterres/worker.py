"""Renders dirty namespaces from the newest settings, applies them, and says what became of them."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from nats.aio.client import Client

from trimtab.errors import TrimtabError
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import TRACEPARENT, NamespaceStatus
from trimtab.runtime import bus, telemetry
from trimtab_clusterres import metrics, template_files
from trimtab_clusterres.cluster import DirectoryCluster
from trimtab_clusterres.dirty import Dirty, Work
from trimtab_clusterres.namespaces import Layout, Place
from trimtab_clusterres.render import Manifest, render

log = logging.getLogger(__name__)

_AT_ONCE = 4
"""Namespaces; most of the time goes to waiting for the disk and for NATS."""

Rendered = list[Manifest] | TrimtabError
"""What to apply, or why nothing is applied anywhere."""


class Worker:
    """All templates of a namespace are rendered before any is applied.

    A cluster that fails is tried again alone. So is a namespace whose templates fail, because
    templates are edited without an event.
    """

    def __init__(
        self,
        client: Client,
        dirty: Dirty,
        layout: Callable[[], Layout],
        *,
        clusters: Mapping[str, DirectoryCluster],
        templates: Path,
    ) -> None:
        self._client = client
        self._dirty = dirty
        self._layout = layout
        self._clusters = clusters
        self._templates = templates

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while True:
            work = await self._dirty.take()
            carrier = {TRACEPARENT: work.traceparent} if work.traceparent else None
            with telemetry.span("render namespace", carrier) as span:
                span.set_attribute("trimtab.namespace", work.namespace)
                await self._bring_up_to_date(work)
            self._dirty.done(work)

    async def _bring_up_to_date(self, work: Work) -> None:
        layout = self._layout()
        places = {Place(cluster, work.namespace) for cluster in work.clusters}
        gone = {place for place in places if not layout.has(place)}
        for place in gone:
            self._dirty.succeeded(place)  # Nothing is left to be tried again.
        if places == gone:
            return
        revision = layout.settings.revision
        target = layout.targets[work.namespace][0]
        rendered = await self._render(layout, work.namespace)
        async with asyncio.TaskGroup() as tasks:
            for place in places - gone:
                tasks.create_task(self._settle(place, work, target, revision, rendered))

    async def _render(self, layout: Layout, namespace: str) -> Rendered:
        try:
            # Not in the thread, because the settings change whenever this loop is free.
            attributes = layout.attributes(namespace)
            with metrics.rendering():
                return await asyncio.to_thread(self._render_files, namespace, attributes)
        except TrimtabError as error:
            return error

    def _render_files(
        self, namespace: str, attributes: Mapping[Scope, Mapping[str, str]]
    ) -> list[Manifest]:
        return render(template_files.read(self._templates), namespace, attributes)

    async def _settle(
        self, place: Place, work: Work, target: Scope, revision: int, rendered: Rendered
    ) -> None:
        """Apply to one cluster and say how that went; what failed is done again later."""
        status = await self._applied(place, target, revision, rendered)
        fields: dict[str, object] = {"cluster": place.cluster, "namespace": place.namespace}
        error = status.error
        try:
            subject = subjects.namespace(place.cluster, place.namespace)
            await bus.publish(self._client, subjects.NAMESPACES, subject, status)
        except TrimtabError as failure:
            error = error or str(failure)
        if error:
            seconds = self._dirty.failed(place, work.changed_at)
            metrics.failed(place.cluster)
            log.warning("namespace.failed", extra={**fields, "error": error, "delay": seconds})
        else:
            self._dirty.succeeded(place)
            metrics.applied(place.cluster, work.changed_at)
            log.info("namespace.ready", extra={**fields, "revision": revision})

    async def _applied(
        self, place: Place, target: Scope, revision: int, rendered: Rendered
    ) -> NamespaceStatus:
        objects: tuple[str, ...] = ()
        error = ""
        if isinstance(rendered, TrimtabError):
            error = str(rendered)
        else:
            try:
                await self._clusters[place.cluster].apply(place.namespace, rendered)
                objects = tuple(str(manifest) for manifest in rendered)
            except TrimtabError as failure:
                error = str(failure)
        return NamespaceStatus(
            cluster=place.cluster,
            namespace=place.namespace,
            project=target.project,
            domain=target.domain,
            revision=revision,
            state="failed" if error else "ready",
            objects=objects,
            error=error,
            at=datetime.now(UTC),
        )
