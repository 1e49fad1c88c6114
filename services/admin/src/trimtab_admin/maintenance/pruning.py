"""Confirmations of prunes: an admin allows clusterres to delete the objects of one list."""

import logging
from dataclasses import replace

from trimtab.api.maintenance import PruneBody
from trimtab.errors import Conflict, NotFound, Unavailable
from trimtab.levels import Scope
from trimtab.messages.events import NamespaceStatus, PruneChanged
from trimtab.runtime.namespace_statuses import NamespaceStatuses
from trimtab.settings import namespaces
from trimtab_admin.access.audit import AuditEntry, AuditTrail
from trimtab_admin.access.authorization import Caller, Role
from trimtab_admin.settings.requests import ConfirmPrune
from trimtab_admin.settings.writing import Writer
from trimtab_admin.storage.database import Sessions
from trimtab_admin.storage.outbox import Author
from trimtab_admin.storage.tree import Tree

log = logging.getLogger(__name__)

_UNCONFIRMED = "unconfirmed"


class Prunes:
    """Shows the lists that await a confirmation, and stores confirmations.

    The lists are those of the statuses that clusterres publishes. It compares a confirmation with
    what it would delete, so a status that is not the newest confirms nothing else.
    """

    def __init__(
        self,
        statuses: NamespaceStatuses,
        writer: Writer,
        tree: Tree,
        reading: Sessions,
        trail: AuditTrail,
        *,
        namespace_template: str,
    ) -> None:
        self._statuses = statuses
        self._writer = writer
        self._tree = tree
        self._reading = reading
        self._trail = trail
        self._template = namespace_template

    async def confirm(
        self, cluster: str, namespace: str, digest: str, author: Author, entry: AuditEntry
    ) -> PruneBody:
        """Store the confirmation of a list; again, where it is stored, changes nothing.

        ``entry`` is the call as the audit trail records it. Raises `NotFound`, `Forbidden` and, on
        another digest than that of the list, `Conflict`.
        """
        confirmation = await self._confirmation(author.caller, cluster, namespace, digest)
        result = await self._writer.write(ConfirmPrune(confirmation), author)
        [edit] = result.draft.entities.values()
        if edit.action != "none":
            await self._record(entry, confirmation)
        return _body(confirmation, result.version_of(edit))

    async def dry_run(self, cluster: str, namespace: str, digest: str, caller: Caller) -> PruneBody:
        """Return the list, empty where nothing awaits a confirmation; without a digest, any list.

        Raises as `confirm`.
        """
        if digest:
            return _body(await self._confirmation(caller, cluster, namespace, digest), None)
        return _body(self._listed(self._find(caller, cluster, namespace)), None)

    async def _confirmation(
        self, caller: Caller, cluster: str, namespace: str, digest: str
    ) -> PruneChanged:
        listed = self._listed(self._find(caller, cluster, namespace))
        if digest and digest == listed.digest:
            return listed
        stored = (await self._tree.latest(self._reading)).prunes.get(listed.name)
        if digest and stored is not None and stored.digest == digest:
            return stored
        where = f"namespace {namespace!r} on cluster {cluster!r}"
        if not listed.digest:
            raise Conflict(f"nothing in {where} awaits a confirmation, so {digest!r} names no list")
        raise Conflict(
            f"the list of {where} has the digest {listed.digest!r}, not {digest!r}: look at what "
            "would be deleted, and confirm that"
        )

    def _find(self, caller: Caller, cluster: str, namespace: str) -> NamespaceStatus:
        """Return the status, if the caller is an admin there. Raises `NotFound`, `Forbidden`."""
        visible = {
            status.namespace: status
            for status in self._statuses.list()
            if status.cluster == cluster and caller.may(Role.VIEWER, self._scope(status))
        }
        if (status := visible.get(namespace)) is None:
            raise NotFound.among(f"namespace of cluster {cluster}", namespace, sorted(visible))
        caller.check(Role.ADMIN, self._scope(status))
        return status

    def _scope(self, status: NamespaceStatus) -> Scope:
        """Return the scope of everything that the namespace is for."""
        template = self._template
        return Scope(
            status.domain if namespaces.DOMAIN in template else "",
            status.project if namespaces.PROJECT in template else "",
        )

    def _listed(self, status: NamespaceStatus) -> PruneChanged:
        scope = self._scope(status)
        listed = [each.identity for each in status.details if each.outcome == _UNCONFIRMED]
        return PruneChanged(
            cluster=status.cluster,
            namespace=status.namespace,
            project=scope.project,
            domain=scope.domain,
            digest=status.prune_digest,
            objects=tuple(sorted(listed)) if status.prune_digest else (),
            count=status.counts.get(_UNCONFIRMED, len(listed)) if status.prune_digest else 0,
        )

    async def _record(self, entry: AuditEntry, confirmation: PruneChanged) -> None:
        count, digest = confirmation.count, confirmation.digest
        reason = f"confirmed that {count} objects of {confirmation.name} are deleted: {digest}"
        where = {"cluster": confirmation.cluster, "namespace": confirmation.namespace}
        log.warning("prune.confirmed", extra={**where, "count": count, "digest": digest})
        try:
            await self._trail.add(replace(entry, reason=reason))
        except Unavailable as error:
            # The confirmation is stored, and history has its author.
            log.error("audit.unavailable", extra={"error": str(error), "id": entry.request_id})


def _body(confirmation: PruneChanged, version: int | None) -> PruneBody:
    return PruneBody(**confirmation.model_dump(exclude={"deleted"}), version=version)
