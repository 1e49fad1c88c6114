"""Brings one namespace of one cluster up to date: render, apply, publish the status."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial

from trimtab.errors import Rejected, TrimtabError, Unavailable
from trimtab.levels import PLATFORM, Scope
from trimtab.messages.events import PruneChanged
from trimtab.runtime import tasks
from trimtab.runtime.threads import Threads
from trimtab.templates.files import TemplateSet
from trimtab.templates.manifests import Manifest
from trimtab.templates.rendering import render
from trimtab.templates.values import ConfiguredValues
from trimtab_clusterres import metrics, statuses
from trimtab_clusterres.applying import Applier
from trimtab_clusterres.clusters.port import Difference, Inventory, Result
from trimtab_clusterres.hiding import secret_values, without_values
from trimtab_clusterres.namespaces import Layout, Placement
from trimtab_clusterres.pruning.pruner import Pruned, Pruner
from trimtab_clusterres.statuses import Attempt, Statuses
from trimtab_clusterres.watching.template_watch import TemplateWatch

_COMPARE_SECONDS = 20.0
"""Shorter than admin waits for the difference of a namespace."""
_FEW_CHARACTERS = 16 * 1024
"""The most characters of templates and values that are rendered in a few milliseconds."""
_THREADS = 2
"""Large renders at once; more would share the interpreter's lock."""


class Reconciler:
    """Makes the namespaces of one cluster as templates and settings describe them.

    All templates of a namespace are rendered before any object is applied, and nothing is pruned
    before every object is applied.
    """

    def __init__(
        self,
        name: str,
        applier: Applier,
        pruner: Pruner,
        *,
        published: Statuses,
        layout: Callable[[], Layout],
        templates: TemplateWatch,
        deadline_seconds: float,
    ) -> None:
        self.name = name
        self._applier = applier
        self._pruner = pruner
        self._published = published
        self._layout = layout
        self._templates = templates
        self._deadline_seconds = deadline_seconds
        # Own threads, for which Python does not wait at the exit.
        self._threads = Threads(_THREADS, f"render-{name}")

    def close(self) -> None:
        """End the threads, without waiting for a render."""
        self._threads.close()

    async def reconcile(self, namespace: str, *, verify: bool = True) -> Attempt | None:
        """Try it once, and publish how it went; ``None`` where it is not to be tried again.

        Without ``verify``, nothing is applied where the objects were applied last.
        """
        layout = self._layout()
        placement = Placement(self.name, namespace)
        if not layout.has(placement):
            self._applier.forget(namespace)
            return await self._leave(layout, placement)
        if verify:
            # Not with the apply, which this try may not come to.
            self._applier.suspect(namespace)
        attempt = await self._attempt(layout, namespace)
        if not self._layout().has(placement):
            return None  # its status is that it was removed meanwhile
        last = await self._published.last(placement)
        was_usable = last is not None and last.usable
        try:
            target = layout.targets[namespace][0]
            status = statuses.status(self.name, namespace, target, attempt, was_usable=was_usable)
            await self._published.publish(status)
        except Exception as failure:  # noqa: BLE001  # it ends this namespace's try only
            return replace(attempt, error=attempt.error or self.failed(namespace, failure).error)
        return attempt

    async def compare(self, namespace: str) -> tuple[int, Sequence[Difference]]:
        """Return the objects that an apply would change, and the revision that was rendered.

        Raises `trimtab.errors.Rejected` where the namespace is not to be made, and what rendering
        and the cluster raise.
        """
        layout = self._layout()
        placement = Placement(self.name, namespace)
        if not layout.has(placement):
            reason = layout.missing_reason(placement) or "the settings do not have it"
            raise Rejected(f"namespace {namespace!r} is not rendered: {reason}")
        revision = layout.settings.revision
        templates = await self._templates.current()
        manifests = await self._render(templates, namespace, layout.attributes(namespace))
        try:
            async with self._deadline(min(self._deadline_seconds, _COMPARE_SECONDS)):
                return revision, await self._applier.compare(namespace, manifests)
        except TrimtabError as error:
            error.args = (without_values(str(error), secret_values(manifests)),)
            raise

    async def _leave(self, layout: Layout, placement: Placement) -> Attempt | None:
        """Prune a namespace that is not to be made, and publish what is left in it."""
        cluster, namespace = placement
        if cluster not in layout.clusters:
            return None
        attempt = await self._prune(layout, namespace)
        last = await self._published.last(placement)
        is_unknown = last is None and not attempt.error and not attempt.pruned.details
        if is_unknown or self._layout().has(placement):
            return None
        known = PLATFORM if last is None else Scope(last.domain, last.project)
        target = layout.archived.get(namespace, known)
        reason = layout.missing_reason(placement)
        try:
            await self._published.publish(statuses.removed(placement, target, attempt, reason))
        except Exception as failure:  # noqa: BLE001  # it ends this namespace's try only
            return self.failed(namespace, failure)
        return attempt if attempt.error else None

    async def _prune(self, layout: Layout, namespace: str) -> Attempt:
        """Try to prune everything that is left of a namespace, if its project was archived."""
        revision = layout.settings.revision
        is_archived, occasion = namespace in layout.archived, layout.occasion(namespace)
        began = time.monotonic()
        try:
            pruned = await self._pruner.prune(
                namespace,
                (),
                "archived" if is_archived else "unclaimed",
                self._confirmation(layout, namespace),
                occasion,
                # A cluster may take long to answer, and the project be restored meanwhile.
                lambda: self._layout().occasion(namespace) == occasion,
            )
        except Exception as failure:  # noqa: BLE001  # it ends this namespace's try only
            return replace(self.failed(namespace, failure), revision=revision)
        seconds = time.monotonic() - began
        return Attempt(revision, error=pruned.error, seconds=seconds, pruned=pruned)

    def _confirmation(self, layout: Layout, namespace: str) -> PruneChanged | None:
        return layout.settings.prunes.get(f"{self.name}/{namespace}")

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
        pruned = Pruned()
        began = time.monotonic()
        try:
            # Not in the thread, because the settings change whenever this loop is free.
            templates = await self._templates.current()
            attributes = layout.attributes(namespace)
            manifests = await self._render(templates, namespace, attributes)
            results = await self._apply(namespace, manifests)
            error = statuses.first_failure(results)
            if error:
                self._pruner.forget(namespace)  # the inventory may have grown
            else:
                keys = {manifest.key for manifest in manifests}
                confirmation = self._confirmation(layout, namespace)
                pruned = await self._pruner.prune(namespace, keys, confirmation=confirmation)
                error = pruned.error
        except Exception as failure:  # noqa: BLE001  # it ends this namespace's try only
            self._pruner.forget(namespace)
            error = self.failed(namespace, failure).error
        seconds = time.monotonic() - began
        inventory = await self._inventory(namespace) if error else None
        return statuses.presentable(
            Attempt(revision, manifests, results, error, seconds, pruned, inventory)
        )

    async def _inventory(self, namespace: str) -> Inventory | None:
        """Return what was applied earlier; ``None`` where the cluster does not respond."""
        with suppress(TrimtabError):
            async with self._deadline(self._deadline_seconds):
                return await self._applier.inventory(namespace)
        return None

    async def _render(
        self, found: TemplateSet, namespace: str, attributes: Mapping[Scope, Mapping[str, str]]
    ) -> list[Manifest]:
        values = self._templates.values
        texts = (text for own in attributes.values() for text in own.values())
        characters = found.characters + values.characters + sum(map(len, texts))
        work = partial(_rendered, found, namespace, attributes, values)
        with metrics.measure_render():
            if characters <= _FEW_CHARACTERS:
                return work()  # sooner than a thread begins
            return await self._threads.submit(work)

    async def _apply(self, namespace: str, manifests: list[Manifest]) -> tuple[Result, ...]:
        async with self._deadline(self._deadline_seconds):
            return await self._applier.apply(namespace, manifests, verify=False)

    @asynccontextmanager
    async def _deadline(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            raise Unavailable(f"cluster {self.name} did not answer within {seconds:g} s") from error


def _rendered(
    found: TemplateSet,
    namespace: str,
    attributes: Mapping[Scope, Mapping[str, str]],
    values: ConfiguredValues,
) -> list[Manifest]:
    manifests = render(found.sources, namespace, attributes, values)
    for manifest in manifests:
        _ = manifest.digest  # cached, because that of a large object holds up the event loop
    return manifests
