"""Namespaces, prunes and dead letters, for operators."""

from collections.abc import Sequence

from trimtab.api.maintenance import DeadLetterBody, PruneBody, PruneRequest, ReplayedBody
from trimtab.api.namespaces import NamespaceDifferenceBody
from trimtab.client.http import DRY_RUN, Collection, path_of, reason_header, without_empty
from trimtab.messages.events import NamespaceStatus


class Namespaces(Collection):
    """The namespace of each project and domain on each cluster."""

    async def list(
        self,
        cluster: str | None = None,
        project: str | None = None,
        domain: str | None = None,
        namespace: str | None = None,
        state: str | None = None,
    ) -> Sequence[NamespaceStatus]:
        """Return the statuses by cluster and name.

        Those of removed namespaces only where the state or the namespace is given.
        """
        params = without_empty(
            cluster=cluster, project=project, domain=domain, namespace=namespace, state=state
        )
        return await self._http.fetch_list(NamespaceStatus, "/namespaces", params)

    async def get(self, cluster: str, namespace: str) -> NamespaceStatus:
        return await self._http.fetch(
            NamespaceStatus, "GET", path_of("namespaces", cluster, namespace)
        )

    async def diff(self, cluster: str, namespace: str) -> NamespaceDifferenceBody:
        """Return the objects that differ on the cluster from what the templates render.

        Values of Secrets are replaced by hashes.
        """
        path = path_of("namespaces", cluster, namespace, "diff")
        return await self._http.fetch(NamespaceDifferenceBody, "GET", path)

    async def prune(
        self,
        cluster: str,
        namespace: str,
        digest: str = "",
        *,
        reason: str = "",
        dry_run: bool = False,
    ) -> PruneBody:
        """Confirm that clusterres deletes the listed objects; a dry run returns the list."""
        path = path_of("namespaces", cluster, namespace, "prune")
        body, params = PruneRequest(digest=digest), DRY_RUN if dry_run else {}
        headers = reason_header(reason)
        return await self._http.fetch(PruneBody, "POST", path, body, params=params, headers=headers)


class DeadLetters(Collection):
    """Messages that the consumer of a work queue rejected."""

    async def list(
        self, stream: str | None = None, consumer: str | None = None, limit: int | None = None
    ) -> Sequence[DeadLetterBody]:
        """Return dead letters without their bodies, the oldest first."""
        params = without_empty(stream=stream, consumer=consumer)
        return await self._http.fetch_list(DeadLetterBody, "/dead", params, limit)

    async def get(self, sequence: int) -> DeadLetterBody:
        return await self._http.fetch(DeadLetterBody, "GET", f"/dead/{sequence}")

    async def replay(self, sequence: int, *, dry_run: bool = False) -> ReplayedBody:
        """Publish the message on its subject again, and delete the dead letter."""
        path, params = f"/dead/{sequence}/replay", DRY_RUN if dry_run else {}
        return await self._http.fetch(ReplayedBody, "POST", path, json={}, params=params)
