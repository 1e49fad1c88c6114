"""Brings one namespace of one cluster up to date: render, apply, publish the status."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from nats.aio.client import Client

from trimtab.errors import TrimtabError, Unavailable
from trimtab.levels import Scope
from trimtab.runtime import tasks
from trimtab.templates.files import read_templates
from trimtab.templates.manifests import Manifest
from trimtab.templates.rendering import render
from trimtab_clusterres import metrics, statuses
from trimtab_clusterres.applying import Applier
from trimtab_clusterres.clusters.port import Result
from trimtab_clusterres.namespaces import Layout, Placement
from trimtab_clusterres.statuses import Attempt


class Reconciler:
    """Makes the namespaces of one cluster as templates and settings describe them.

    All templates of a namespace are rendered before any object is applied.
    """

    def __init__(
        self,
        name: str,
        applier: Applier,
        *,
        client: Client,
        layout: Callable[[], Layout],
        templates: Path,
        deadline_seconds: float,
    ) -> None:
        self.name = name
        self._applier = applier
        self._client = client
        self._layout = layout
        self._templates = templates
        self._deadline_seconds = deadline_seconds

    async def reconcile(self, namespace: str) -> Attempt | None:
        """Try it once, and publish how it went; ``None`` where the namespace is not to be made."""
        layout = self._layout()
        if not layout.has(Placement(self.name, namespace)):
            self._applier.forget(namespace)
            return None
        attempt = await self._attempt(layout, namespace)
        target = layout.targets[namespace][0]
        try:
            status = statuses.status(self.name, namespace, target, attempt)
            await statuses.publish(self._client, status)
        except Exception as failure:  # noqa: BLE001  # it ends this namespace's try only
            return replace(attempt, error=attempt.error or self.failed(namespace, failure).error)
        return attempt

    def failed(self, namespace: str, failure: Exception) -> Attempt:
        """Return an attempt that failed, after logging a defect with its traceback.

        A failure that is to be expected is logged with the outcome.
        """
        if not isinstance(failure, TrimtabError):
            fields = {"cluster": self.name, "namespace": namespace}
            tasks.report_failure("namespace.defect", failure, fields)
        return Attempt(error=statuses.error_text(failure))

    async def _attempt(self, layout: Layout, namespace: str) -> Attempt:
        revision = layout.settings.revision
        manifests: list[Manifest] = []
        results: tuple[Result, ...] = ()
        began = time.monotonic()
        try:
            # Not in the thread, because the settings change whenever this loop is free.
            attributes = layout.attributes(namespace)
            manifests = await self._render(namespace, attributes)
            results = await self._apply(namespace, manifests)
            error = statuses.first_failure(results)
        except Exception as failure:  # noqa: BLE001  # it ends this namespace's try only
            error = self.failed(namespace, failure).error
        return Attempt(revision, manifests, results, error, time.monotonic() - began)

    async def _render(
        self, namespace: str, attributes: Mapping[Scope, Mapping[str, str]]
    ) -> list[Manifest]:
        def work() -> list[Manifest]:
            sources = read_templates([self._templates]).sources
            return render(sources, namespace, attributes)

        with metrics.measure_render():
            return await asyncio.to_thread(work)

    async def _apply(self, namespace: str, manifests: list[Manifest]) -> tuple[Result, ...]:
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await self._applier.apply(namespace, manifests)
        except TimeoutError as error:
            raise Unavailable(
                f"cluster {self.name} did not answer within {self._deadline_seconds:g} s"
            ) from error
