"""What a change of the settings does: it marks namespaces dirty, and nothing else."""

import logging
from collections.abc import Collection, Iterable

from nats.aio.client import Client

from trimtab.messages.events import ClusterChanged, DomainChanged, ProjectChanged
from trimtab.settings.view import Change, View
from trimtab_clusterres.dirty import Dirty
from trimtab_clusterres.namespaces import Layout

log = logging.getLogger(__name__)


class Handlers:
    """Hears the view and marks. Run ``view.follow()`` for as long as it is used."""

    def __init__(
        self,
        client: Client,
        dirty: Dirty,
        *,
        namespace_template: str,
        reached: Collection[str],  # clusters that this service has access to
        stale_after_seconds: float,
    ) -> None:
        self.view = View(client, self.on_changes, self.on_reload, stale_after_seconds)
        self.layout = Layout(self.view.settings, namespace_template, reached)
        self._dirty = dirty
        self._template = namespace_template
        self._reached = reached
        self._reported: set[str] = set()

    def on_changes(self, changes: Iterable[Change]) -> None:
        changes = list(changes)
        if any(isinstance(change.event, ProjectChanged | DomainChanged) for change in changes):
            self._lay_out()
        for change in changes:
            if isinstance(change.event, ClusterChanged):
                self._report_out_of_reach()
            self._dirty.mark(
                self.layout.touched(change.event), change.traceparent, change.stored_at
            )

    def on_reload(self) -> None:
        """Everything may differ from what was rendered before."""
        self._lay_out()
        self._report_out_of_reach()
        self._dirty.mark(self.layout.places)

    def _lay_out(self) -> None:
        self.layout = Layout(self.view.settings, self._template, self._reached)

    def _report_out_of_reach(self) -> None:
        for name in self.layout.out_of_reach:
            if name not in self._reported:
                self._reported.add(name)
                log.warning(
                    "cluster.out_of_reach", extra={"cluster": name, "setting": "TRIMTAB_CLUSTERS"}
                )
