"""Prunes the objects of one cluster that nothing renders any longer, as the plan decides."""

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from trimtab.errors import Unavailable
from trimtab.messages.events import ObjectStatus, PruneChanged
from trimtab.templates.manifests import ObjectKey
from trimtab_clusterres.clusters.port import Cluster, Result
from trimtab_clusterres.pruning import plans
from trimtab_clusterres.pruning.plans import Cause, Leftovers, Plan
from trimtab_clusterres.pruning.policies import PrunePolicies

log = logging.getLogger(__name__)

_SUSPECT = "templates do not render most objects any longer; an admin has to confirm the deletion"


@dataclass(frozen=True)
class Pruned:
    """The leftovers of a namespace after a try to prune them."""

    details: tuple[ObjectStatus, ...] = ()
    """The outcome of each leftover object."""
    digest: str = ""
    """Names the list of the unconfirmed ones."""
    error: str = ""
    """The reason why something that is to be deleted still exists."""


class Pruner:
    """Prunes one cluster. It deletes nothing without the plan, and the plan nothing unrecorded."""

    def __init__(
        self, name: str, cluster: Cluster, policies: PrunePolicies, deadline_seconds: float
    ) -> None:
        self._name = name
        self._cluster = cluster
        self._policies = policies
        self._deadline_seconds = deadline_seconds
        self._tidy: dict[str, frozenset[ObjectKey]] = {}
        """The objects of namespaces without leftovers: reading these inventories again shows
        nothing, as long as all these objects are rendered."""

    async def prune(
        self,
        namespace: str,
        rendered: Collection[ObjectKey],
        cause: Cause = "templates",
        confirmation: PruneChanged | None = None,
        occasion: str = "",
        is_due: Callable[[], bool] = lambda: True,
    ) -> Pruned:
        """Prune what is not rendered. Raises what the cluster raises, and `Unavailable`.

        ``is_due`` is called directly before anything is deleted; where it is false, nothing is.
        """
        keys = frozenset(rendered)
        known = self._tidy.pop(namespace, None)
        if known is not None and known <= keys:
            self._tidy[namespace] = keys
            return Pruned()
        try:
            async with asyncio.timeout(self._deadline_seconds):
                inventory = await self._cluster.read(namespace)
                if not is_due():
                    raise Unavailable(f"the project of namespace {namespace} has changed meanwhile")
                leftovers = Leftovers(self._name, namespace, inventory, keys, cause, occasion)
                pruned = await self._prune(leftovers, confirmation)
        except TimeoutError as error:
            raise Unavailable(
                f"cluster {self._name} did not answer within {self._deadline_seconds:g} s"
            ) from error
        if not pruned.details and keys:
            self._tidy[namespace] = keys
        return pruned

    def forget(self, namespace: str) -> None:
        """Read the inventory of a namespace again the next time."""
        self._tidy.pop(namespace, None)

    def forget_all(self) -> None:
        """Read every inventory again, because another replica may have acted."""
        self._tidy.clear()

    async def _prune(self, leftovers: Leftovers, confirmation: PruneChanged | None) -> Pruned:
        plan = plans.plan(leftovers, self._policies, confirmation)
        keys = [*plan.delete, *plan.release]
        results = await self._cluster.prune(leftovers.namespace, keys) if keys else ()
        for result in results:
            where = {"cluster": self._name, "namespace": leftovers.namespace}
            fields = {"object": str(result.key), "outcome": result.outcome}
            log.info("object.pruned", extra={**where, **fields})
        error = await self._unfinished(leftovers.namespace, plan, results)
        return Pruned((*map(_pruned, results), *_left(plan)), plan.digest, error)

    async def _unfinished(self, namespace: str, plan: Plan, results: Collection[Result]) -> str:
        """Return why an object that was to be deleted exists still, which finalizers cause."""
        failed = [one for one in results if one.outcome == "failed"]
        if failed:
            return f"{failed[0].key}: {failed[0].message}"
        if not plan.delete:
            return ""
        left = set(plan.delete) & (await self._cluster.read(namespace)).entries.keys()
        return f"{min(left)}: it is being deleted" if left else ""


def _pruned(result: Result) -> ObjectStatus:
    return ObjectStatus(
        object=str(result.key),
        outcome=result.outcome,
        message=result.message,
        seconds=round(result.seconds, 3),
    )


def _left(plan: Plan) -> list[ObjectStatus]:
    message = _SUSPECT if plan.is_suspect else ""
    unconfirmed = [
        ObjectStatus(object=str(key), outcome="unconfirmed", message=message, identity=identity)
        for key, identity in plan.unconfirmed.items()
    ]
    kept = [
        ObjectStatus(object=str(key), outcome="kept", message=reason)
        for key, reason in plan.kept.items()
    ]
    return [*unconfirmed, *kept]
