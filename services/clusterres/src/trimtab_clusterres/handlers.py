"""Marks namespaces dirty when the settings change, in the queue of each cluster."""

import logging
from collections.abc import Callable, Iterable, Mapping

from nats.aio.client import Client

from trimtab.messages.events import ClusterChanged, DomainChanged, ProjectChanged
from trimtab.settings.view import Change, View
from trimtab_clusterres.namespaces import Layout, Placement
from trimtab_clusterres.queue import Priority, WorkQueue, priority_of

log = logging.getLogger(__name__)


class Handlers:
    """Consumes changes of the view. Run ``view.follow()`` for as long as it is used."""

    def __init__(
        self,
        client: Client,
        queues: Mapping[str, WorkQueue],  # by cluster, of those that this service can reach
        *,
        namespace_template: str,
        stale_after_seconds: float,
        on_layout: Callable[[], None],
        on_reloaded: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_layout`` is called after the layout has changed, ``on_reloaded`` where all of it may
        have changed.
        """
        self.view = View(client, self.on_changes, self.on_reload, stale_after_seconds)
        self.layout = Layout(self.view.settings, namespace_template, queues)
        self._queues = queues
        self._template = namespace_template
        self._on_layout = on_layout
        self._on_reloaded = on_reloaded
        self.is_loaded = False
        """Whether the settings were read once, so that the layout is known."""
        self._reported: set[str] = set()

    def on_changes(self, changes: Iterable[Change]) -> None:
        """Mark the namespaces whose manifests may differ after these changes."""
        changes = list(changes)
        if any(isinstance(change.event, ProjectChanged | DomainChanged) for change in changes):
            self._compute_layout()
        if any(isinstance(change.event, ClusterChanged) for change in changes):
            self._report_unreachable()
            self._on_layout()
        affected = [self.layout.affected(change.event) for change in changes]
        # Many small changes of one transaction are as much work as a broad one.
        namespaces = {placement.namespace for each in affected for placement in each}
        priority = priority_of(len(namespaces))
        for change, placements in zip(changes, affected, strict=True):
            self._mark(placements, priority, change.traceparent, change.stored_at)

    def on_reload(self) -> None:
        """Mark every namespace, because the whole view may have changed."""
        self.is_loaded = True
        self._compute_layout()
        self._report_unreachable()
        self._mark(self.layout.placements | self.layout.removals, Priority.BULK)
        self._on_reloaded()

    def namespaces(self, cluster: str) -> list[str]:
        """Return the namespaces that are to be on a cluster."""
        return [each.namespace for each in self.layout.placements if each.cluster == cluster]

    def on_templates(self, clusters: Iterable[str]) -> None:
        """Mark every namespace of the clusters whose templates changed or became unusable."""
        for cluster in clusters:
            self._queues[cluster].mark(self.namespaces(cluster), priority=Priority.BULK)

    def removals(self, cluster: str) -> list[str]:
        """Return the namespaces of archived projects, in which objects may be left."""
        return [each.namespace for each in self.layout.removals if each.cluster == cluster]

    def _mark(
        self,
        placements: Iterable[Placement],
        priority: Priority,
        traceparent: str = "",
        at: float = 0.0,
    ) -> None:
        for cluster, namespace in placements:
            self._queues[cluster].mark([namespace], traceparent, at, priority=priority)

    def _compute_layout(self) -> None:
        self.layout = Layout(self.view.settings, self._template, self._queues)
        self._on_layout()

    def _report_unreachable(self) -> None:
        """Log each enabled cluster that is not configured here, once."""
        for name in self.layout.unreachable:
            if name not in self._reported:
                self._reported.add(name)
                log.warning(
                    "cluster.not_configured",
                    extra={"cluster": name, "variable": "TRIMTAB_CLUSTERS"},
                )
