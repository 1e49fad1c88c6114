"""The namespaces that executions need, and whether these can be used."""

from collections.abc import Callable

from nats.aio.client import Client

from trimtab.messages.events import ClusterChanged, NamespaceStatus
from trimtab.runtime.namespace_statuses import NamespaceStatuses
from trimtab.settings import namespaces
from trimtab.settings.state import Settings

_MAX_ERROR = 500
"""Characters of a namespace's error that a reason repeats."""


class RequiredNamespaces:
    """The namespace of each project and domain, on the cluster that the executor runs in."""

    def __init__(self, cluster: str, template: str, settings: Callable[[], Settings]) -> None:
        """``cluster`` is empty where executions need no namespace. ``template`` is that of names,
        the same as in clusterres."""
        self._cluster = cluster
        self._template = template
        self._settings = settings
        self._statuses = NamespaceStatuses(cluster)

    async def follow(self, client: Client, on_change: Callable[[str], None]) -> None:
        """Keep the statuses up to date until cancelled.

        ``on_change`` is called with the name of each namespace whose status has changed.
        """
        await self._statuses.follow(client, on_change)

    def name(self, project: str, domain: str) -> str:
        return namespaces.name(self._template, project, domain)

    def problem(self, namespace: str) -> str:
        """Return why a namespace cannot be used; empty where it can, or where none is needed."""
        declared = self._settings().clusters.get(self._cluster)
        return problem(declared, namespace, self._statuses.get(self._cluster, namespace))


def problem(cluster: ClusterChanged | None, namespace: str, status: NamespaceStatus | None) -> str:
    """Return why a namespace cannot be used on a cluster; empty where it can.

    No namespace is made on a cluster that is not declared, ``None``, so none is needed there.
    """
    if cluster is None or (status is not None and status.is_usable):
        return ""
    if not cluster.enabled:
        why = "the cluster is disabled"
    elif status is None:
        why = "clusterres has not published its status"
    else:
        why = status.error[:_MAX_ERROR] or f"its state is {status.state}"
    return f"namespace {namespace} on cluster {cluster.name} is not ready: {why}"
