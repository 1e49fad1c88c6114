"""Namespaces, prunes and dead letters, for operators."""

from collections.abc import Sequence

from trimtab.api.maintenance import DeadLetterBody, PruneBody, PruneRequest, ReplayedBody
from trimtab.client.http import DRY_RUN, Collection, path_of, reason_header, without_empty
from trimtab.messages.events import NamespaceStatus


class Namespaces(Collection):
    async def list(self) -> Sequence[NamespaceStatus]:
        return await self._http.fetch_list(NamespaceStatus, "/namespaces")

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
