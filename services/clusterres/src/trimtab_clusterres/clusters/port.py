"""The port of a cluster. `tests/integration/clusterres/cluster_contract.py` holds every type to it.

Pure: each type of cluster is an adapter in a module of its own.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pydantic import JsonValue


class ObjectKey(NamedTuple):
    """Identifies an object within a namespace, whatever the version of its API."""

    group: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Manifest:
    """One Kubernetes object, ready to be applied."""

    group: str
    """The API group; empty for the core group."""
    kind: str
    name: str
    body: dict[str, JsonValue]

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.group, self.kind, self.name)

    def __str__(self) -> str:
        return str(self.key)


@dataclass(frozen=True)
class Inventory:
    """The objects of a namespace that were applied, as the cluster itself records them.

    Where that record is lost the inventory is empty, and `Cluster.apply` adopts what exists.
    """

    created: frozenset[ObjectKey] = frozenset()
    """Objects that did not exist before the first apply. Only these are ever deleted."""
    adopted: frozenset[ObjectKey] = frozenset()
    """Objects that existed before the first apply. They are updated, and never deleted."""


class Cluster(Protocol):
    """A Kubernetes cluster, or a substitute of one, that namespaces are made on.

    Each method raises `trimtab.errors.Unavailable` where the cluster cannot be reached. The caller
    sets a deadline by cancelling: a cancelled call may still take effect, but not after a later
    call for the same namespace has begun.
    """

    async def read(self, namespace: str) -> Inventory:
        """Return the inventory of a namespace; empty where nothing was applied."""
        ...

    async def apply(self, namespace: str, manifests: Sequence[Manifest]) -> int:
        """Create or update the objects in order, and return how many were changed.

        The inventory names an object before the object is created, so that a process that is
        killed in between leaves none that is unknown. Raises `trimtab.errors.Rejected`, before
        anything is changed, where a manifest cannot be applied.
        """
        ...

    async def prune(self, namespace: str, keep: Collection[ObjectKey]) -> tuple[ObjectKey, ...]:
        """Delete the created objects that are not to be kept, and return their keys.

        The inventory loses an object after the object was deleted. Adopted objects that are not to
        be kept only leave the inventory.
        """
        ...

    def changes(self) -> AsyncIterator[str]:
        """Yield each namespace in which something else changed or deleted an applied object.

        The iterator never ends. A change that happens while no iterator runs is not reported.
        """
        ...
