"""The namespaces that executions need, and whether these can be used."""

from collections.abc import Callable, Iterable, Mapping

from nats.aio.client import Client

from trimtab import names
from trimtab.errors import Rejected
from trimtab.messages.events import ClusterChanged, NamespaceStatus
from trimtab.messages.executions import Request
from trimtab.runtime.namespace_statuses import NamespaceStatuses
from trimtab.settings import namespaces
from trimtab.settings.state import Settings
from trimtab_propeller.resolution import candidates

EVERY_CLUSTER = "*"
"""Stands for every declared cluster."""
_SHOWN = 3
"""The problems of how many clusters a reason has."""
_MAX_ERROR = 500
"""Characters of a namespace's error that a reason repeats."""


class RequiredNamespaces:
    """The namespace of each project and domain, on the clusters that executions need it on."""

    def __init__(
        self,
        clusters: str,
        template: str,
        settings: Callable[[], Settings],
        statuses: NamespaceStatuses | None = None,
    ) -> None:
        """``clusters`` is the name of the only one, `EVERY_CLUSTER`, or empty where executions need
        no namespace. ``template`` is that of names, the same as in clusterres. ``statuses`` are
        those of these clusters, ``None`` makes new ones."""
        self._clusters = clusters
        self._template = template
        self._settings = settings
        followed = "" if clusters == EVERY_CLUSTER else clusters
        self._statuses = statuses or NamespaceStatuses(followed)

    async def follow(self, client: Client, on_change: Callable[[str], None]) -> None:
        """Keep the statuses up to date until cancelled.

        ``on_change`` is called with the name of each namespace whose status has changed.
        """
        await self._statuses.follow(client, on_change)

    def name(self, project: str, domain: str) -> str:
        return namespaces.name(self._template, project, domain)

    def problem(self, namespace: str) -> str:
        """Return why a namespace can be used on no cluster; empty where it can, or is not needed.

        Disabled clusters do not count where every cluster does.
        """
        return _joined(self._problems(self._required(), namespace))

    def problem_of(self, request: Request) -> str:
        """Return why the namespace can be used on none of the clusters that may be selected.

        Empty where the admission has to refuse the execution. Raises `Rejected`.
        """
        namespace = self.name(request.project, request.domain)
        if self._clusters != EVERY_CLUSTER:
            return self.problem(namespace)
        try:
            request.workflow.check_plans()
            selectable = candidates.of(request, self._settings()).clusters
        except Rejected:
            return ""
        return _joined(self._problems(selectable, namespace))

    def problems(self, request: Request) -> Mapping[str, str]:
        """Return why the namespace cannot be used, by cluster. Raises `Rejected`."""
        namespace = self.name(request.project, request.domain)
        found = self._problems(self._required(), namespace)
        return {cluster: why for cluster, why in found.items() if why}

    def _required(self) -> Iterable[ClusterChanged]:
        declared = self._settings().clusters
        if self._clusters == EVERY_CLUSTER:
            return [cluster for _, cluster in sorted(declared.items()) if cluster.enabled]
        only = declared.get(self._clusters)
        return [] if only is None else [only]

    def _problems(self, clusters: Iterable[ClusterChanged], namespace: str) -> Mapping[str, str]:
        return {
            cluster.name: problem(cluster, namespace, self._statuses.get(cluster.name, namespace))
            for cluster in clusters
        }


def _joined(problems: Mapping[str, str]) -> str:
    """Return the problems of all clusters; empty where there is none, or one without a problem."""
    if not all(problems.values()):
        return ""
    shown, others = list(problems.values())[:_SHOWN], list(problems)[_SHOWN:]
    more = [f"it is not ready on {names.listed(others)} either"] if others else []
    return "; ".join((*shown, *more))


def problem(cluster: ClusterChanged, namespace: str, status: NamespaceStatus | None) -> str:
    """Return why a namespace cannot be used on a cluster; empty where it can."""
    if status is not None and status.is_usable:
        return ""
    if not cluster.enabled:
        why = "the cluster is disabled"
    elif status is None:
        why = "clusterres has not published its status"
    else:
        why = status.error[:_MAX_ERROR] or f"its state is {status.state}"
    return f"namespace {namespace} on cluster {cluster.name} is not ready: {why}"
