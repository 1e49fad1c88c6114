"""The port of a cluster. `tests/integration/clusterres/cluster_contract.py` holds every type to it.

Pure: each type of cluster is an adapter in a module of its own.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from pydantic import JsonValue

from trimtab.templates.manifests import Manifest, ObjectKey

FIELD_MANAGER = "trimtab-clusterres"
"""The name under which fields are set on a cluster."""


@dataclass(frozen=True)
class Entry:
    """An object of an inventory."""

    created: bool
    """Whether it did not exist before the first apply. Only such objects are ever deleted; an
    object that existed is adopted: it is updated, and released instead of deleted."""
    uid: str = ""
    """The uid that it has on the cluster; empty before its first apply succeeded. A directory gives
    each object one, which no later object of the same name has."""
    digest: str = ""
    """Digest of the manifest that was applied last; empty where none was, and on a cluster where
    an object has one manager."""


@dataclass(frozen=True)
class Inventory:
    """The objects of a namespace that were applied, as the cluster itself records them.

    Where that record is lost the inventory is empty, and `Cluster.apply` adopts what exists.
    """

    entries: Mapping[ObjectKey, Entry] = field(default_factory=dict)

    @property
    def created(self) -> frozenset[ObjectKey]:
        return frozenset(key for key, entry in self.entries.items() if entry.created)

    @property
    def adopted(self) -> frozenset[ObjectKey]:
        return frozenset(key for key, entry in self.entries.items() if not entry.created)


Outcome = Literal["applied", "unchanged", "failed", "conflicted", "drifted", "pruned", "released"]


@dataclass(frozen=True)
class Result:
    """The outcome of a call for one object."""

    key: ObjectKey
    outcome: Outcome
    message: str = ""
    """The cluster's reason where the outcome is ``failed``; the other field manager and the fields
    where it is ``conflicted`` or ``drifted``."""
    seconds: float = 0.0


@dataclass(frozen=True)
class Difference:
    """An object whose fields on the cluster are not those that an apply would give it."""

    key: ObjectKey
    live: Mapping[str, JsonValue] | None
    """The object on the cluster, with its ``metadata.managedFields``; ``None`` where it does not
    exist."""
    desired: Mapping[str, JsonValue]
    """The object after an apply, fields of other managers included."""


class ApiKind(NamedTuple):
    """A kind in one version of its API, such as ``v1`` ``ResourceQuota``."""

    api_version: str
    kind: str


class Cluster(Protocol):
    """A Kubernetes cluster, or a substitute of one, that namespaces are made on.

    Each method raises `trimtab.errors.Unavailable` where the cluster cannot be reached. The caller
    sets a deadline by cancelling: a cancelled call may still take effect, but not after a later
    call for the same namespace has begun.
    """

    async def read(self, namespace: str) -> Inventory:
        """Return the inventory of a namespace; empty where nothing was applied."""
        ...

    async def inventories(self) -> Mapping[str, Inventory]:
        """Return the inventory of every namespace that has one, by name."""
        ...

    async def apply(
        self, namespace: str, manifests: Sequence[Manifest], *, repair: bool = False
    ) -> tuple[Result, ...]:
        """Create or update the objects in order, and return what happened to each.

        The inventory names an object before the object is created, so that a process that is
        killed in between leaves none that is unknown. An object that fails leaves the others
        to be applied; where the namespace itself fails, nothing else is tried. ``repair`` takes
        back fields that this cluster's earlier applies had set and another manager changed since;
        without it they are reported as ``conflicted``. Raises `trimtab.errors.Rejected`, before
        anything is changed, where a manifest cannot be applied to any cluster of this type.
        """
        ...

    async def compare(
        self, namespace: str, manifests: Sequence[Manifest]
    ) -> tuple[Difference, ...]:
        """Return the objects that an apply with ``repair`` would change, and change nothing."""
        ...

    async def prune(self, namespace: str, keys: Collection[ObjectKey]) -> tuple[Result, ...]:
        """Delete these objects where they were created here, and release them where adopted.

        An object is deleted only while it has the uid of the inventory. The inventory loses an
        object after the object was deleted; a key that it does not contain is ignored. The
        namespace itself comes last.
        """
        ...

    def changes(self) -> AsyncIterator[str]:
        """Yield each namespace in which something else changed or deleted an applied object.

        The iterator never ends. A change that happens while no iterator runs is not reported.
        """
        ...

    @property
    def unwatched(self) -> Sequence[str]:
        """A sentence for each kind whose changes are not reported; a full check finds them."""
        ...

    async def missing_permissions(self, kinds: Collection[ApiKind]) -> tuple[str, ...]:
        """Return what this service may not do with objects of these kinds, one sentence each.

        A kind that the cluster does not serve is one of them.
        """
        ...

    async def close(self) -> None:
        """Close all connections. No other method may be called afterwards."""
        ...
