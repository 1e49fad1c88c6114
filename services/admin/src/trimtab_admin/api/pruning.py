"""The operation that confirms what clusterres deletes from a namespace."""

from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.api.maintenance import PruneBody, PruneRequest
from trimtab_admin.access.audit import AuditEntry
from trimtab_admin.access.authorization import any_caller
from trimtab_admin.access.call import Call
from trimtab_admin.api.operation import Operation
from trimtab_admin.api.parameters import DryRunQuery, ReasonHeader
from trimtab_admin.maintenance.pruning import Prunes


@dataclass(frozen=True)
class PruneOperations:
    """The operation, with what stores confirmations."""

    prunes: Prunes

    def table(self) -> Sequence[Operation]:
        path = "/namespaces/{cluster}/{namespace}/prune"
        # The status of the namespace names the project and domain that the caller must be admin of.
        return (Operation("POST", path, self.confirm_prune, any_caller, tag="namespaces"),)

    async def confirm_prune(
        self,
        call: Call,
        cluster: str,
        namespace: str,
        query: DryRunQuery,
        headers: ReasonHeader,
        body: PruneRequest,
    ) -> PruneBody:
        """Confirm that clusterres deletes the listed objects; a dry run returns the list.

        It is for admins of the project and domain. A confirmation is void where the list changes.
        """
        if query.dry_run:
            return await self.prunes.dry_run(cluster, namespace, body.digest, call.caller)
        author, entry = headers.author(call), AuditEntry.of(call, 200)
        return await self.prunes.confirm(cluster, namespace, body.digest, author, entry)
