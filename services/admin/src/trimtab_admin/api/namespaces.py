"""Operations on namespaces: their statuses, and the differences to their templates."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from pydantic import StringConstraints

from trimtab.api.namespaces import NamespaceDifferenceBody
from trimtab.api.settings import Part
from trimtab.messages.events import NamespaceStatus
from trimtab_admin.access.authorization import any_caller
from trimtab_admin.access.call import Call
from trimtab_admin.api.operation import Operation
from trimtab_admin.api.parameters import PageQuery
from trimtab_admin.maintenance.namespaces import NamespaceFilter, Namespaces
from trimtab_admin.paging import Page

NamespaceName = Annotated[str, StringConstraints(max_length=1000)]
"""The template of names may make longer ones than Kubernetes accepts."""


class NamespacesQuery(PageQuery):
    """A filter of namespaces; an empty part matches all."""

    cluster: Part = ""
    project: Part = ""
    domain: Part = ""
    namespace: NamespaceName = ""
    state: Literal["", "ready", "failed", "removed"] = ""
    """Namespaces that are removed are listed only where the state or the namespace is given."""


@dataclass(frozen=True)
class NamespaceOperations:
    """The operations, which each caller may call for what it may see."""

    namespaces: Namespaces

    def table(self) -> Sequence[Operation]:
        namespaces = partial(Operation, requires=any_caller, tag="namespaces")
        namespace = "/namespaces/{cluster}/{namespace}"
        return (
            namespaces("GET", "/namespaces", self.list_namespaces),
            namespaces("GET", namespace, self.get_namespace),
            namespaces("GET", f"{namespace}/diff", self.get_namespace_difference),
        )

    async def list_namespaces(self, call: Call, query: NamespacesQuery) -> Page[NamespaceStatus]:
        fields = NamespaceFilter(
            query.cluster, query.project, query.domain, query.namespace, query.state
        )
        return await self.namespaces.list(call.caller, fields, query.token, query.limit)

    async def get_namespace(
        self, call: Call, cluster: Part, namespace: NamespaceName
    ) -> NamespaceStatus:
        return await self.namespaces.get(call.caller, cluster, namespace)

    async def get_namespace_difference(
        self, call: Call, cluster: Part, namespace: NamespaceName
    ) -> NamespaceDifferenceBody:
        return await self.namespaces.difference(call.caller, cluster, namespace)
