"""The statuses of namespaces, and the difference of one to its templates, for callers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nats.aio.client import Client

from trimtab.api.namespaces import NamespaceDifferenceBody
from trimtab.errors import NotFound
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import NamespaceStatus
from trimtab.runtime import replies, telemetry
from trimtab.runtime.namespace_statuses import NamespaceStatuses
from trimtab_admin import paging
from trimtab_admin.access.authorization import Caller, Role
from trimtab_admin.paging import Page
from trimtab_admin.settings.entities import CLUSTERS
from trimtab_admin.settings.reading import Reader

_DIFFERENCE_SECONDS = 25.0
"""Longer than clusterres waits for a cluster, and shorter than clients wait for admin."""


@dataclass(frozen=True)
class NamespaceFilter:
    """Empty fields match all."""

    cluster: str = ""
    project: str = ""
    domain: str = ""
    namespace: str = ""
    state: str = ""

    def matches(self, status: NamespaceStatus) -> bool:
        """Return whether it is listed.

        A removed one only where its name or state is given, or where objects of it are to be
        deleted.
        """
        is_hidden = status.state == "removed" and not status.prune_digest
        if is_hidden and not (self.state or self.namespace):
            return False
        return all(
            getattr(self, field) in ("", getattr(status, field)) for field in self.__match_args__
        )


class Namespaces:
    """Returns only what a caller may see, and compares a name only with such ones."""

    def __init__(
        self, statuses: NamespaceStatuses, reader: Reader, client: Callable[[], Client]
    ) -> None:
        """``client`` returns the connection, and raises `trimtab.errors.Unavailable`."""
        self._statuses = statuses
        self._reader = reader
        self._client = client

    async def list(
        self, caller: Caller, query: NamespaceFilter, token: str, limit: int
    ) -> Page[NamespaceStatus]:
        """Return statuses by cluster and namespace.

        Raises `NotFound` for a cluster or a namespace that none has, and `Invalid` on the token.
        """
        visible = self._visible(caller)
        if query.cluster:
            await self._check_cluster(query.cluster, visible)
        if query.namespace:
            _check_namespace(query.namespace, "namespace", visible)
        found = sorted(filter(query.matches, visible), key=_key)
        if token:
            after = _position(token)
            found = [status for status in found if _key(status) > after]
        page = found[:limit]
        return Page(page, paging.encode(_key(page[-1])) if len(found) > limit else None)

    async def get(self, caller: Caller, cluster: str, namespace: str) -> NamespaceStatus:
        """Raises `NotFound`."""
        visible = self._visible(caller)
        await self._check_cluster(cluster, visible)
        of_cluster = [status for status in visible if status.cluster == cluster]
        _check_namespace(namespace, f"namespace of cluster {cluster!r}", of_cluster)
        return next(status for status in of_cluster if status.namespace == namespace)

    async def difference(
        self, caller: Caller, cluster: str, namespace: str
    ) -> NamespaceDifferenceBody:
        """Raises `NotFound`, `Unavailable`, and what rendering and the cluster raise."""
        await self.get(caller, cluster, namespace)
        return await replies.request(
            self._client(),
            subjects.difference(cluster, namespace),
            NamespaceDifferenceBody,
            service=f"clusterres that reaches cluster {cluster!r}",
            timeout=_DIFFERENCE_SECONDS,
            headers=telemetry.headers(),
        )

    def _visible(self, caller: Caller) -> Sequence[NamespaceStatus]:
        return [
            status
            for status in self._statuses.list()
            if caller.may(Role.VIEWER, Scope(status.domain, status.project))
        ]

    async def _check_cluster(self, cluster: str, visible: Sequence[NamespaceStatus]) -> None:
        if any(status.cluster == cluster for status in visible):
            return
        declared = [body.name for body in await self._reader.entities(CLUSTERS)]
        if cluster not in declared:
            raise NotFound.among("cluster", cluster, declared)


def _check_namespace(name: str, noun: str, visible: Sequence[NamespaceStatus]) -> None:
    known = sorted({status.namespace for status in visible})
    if name not in known:
        raise NotFound.among(noun, name, known)


def _key(status: NamespaceStatus) -> tuple[str, str]:
    return status.cluster, status.namespace


def _position(token: str) -> tuple[str, str]:
    match paging.decode(token):
        case (str(cluster), str(namespace)):
            return cluster, namespace
        case _:
            raise paging.invalid_cursor(token)
