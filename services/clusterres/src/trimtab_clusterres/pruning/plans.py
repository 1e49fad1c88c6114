"""Decides which objects of a namespace are deleted, released or kept. Pure.

Everything comes from the inventory, which the cluster itself records: an object that is not in it,
or was adopted, is never deleted, whatever its labels are.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from trimtab.messages.events import PruneChanged
from trimtab.templates.manifests import ObjectKey
from trimtab_clusterres.clusters.port import Entry, Inventory
from trimtab_clusterres.pruning.policies import PrunePolicies

Cause = Literal["templates", "archived", "unclaimed"]
"""Why objects are left over: a template was removed; the project was archived; or no project and
domain has the namespace, which an older database or another namespace template explains too."""

_ORPHAN = "the policy of its kind is orphan"
_OCCUPIED = "other objects in it are kept"
_UNCLAIMED = (
    "no project and domain has this namespace: the project was removed without being archived, or "
    "the namespace template has changed"
)
_DIGEST_LENGTH = 32


@dataclass(frozen=True)
class Leftovers:
    """The objects of a namespace that nothing renders any longer, and why."""

    cluster: str
    namespace: str
    inventory: Inventory
    rendered: Collection[ObjectKey] = ()
    """The objects that the templates render; none where the project is archived."""
    cause: Cause = "templates"
    occasion: str = ""
    """Differs between two times at which the same objects are left over; part of the digest."""

    @property
    def entries(self) -> dict[ObjectKey, Entry]:
        entries = self.inventory.entries
        return {key: entries[key] for key in sorted(entries) if key not in self.rendered}

    @property
    def home(self) -> ObjectKey:
        """The namespace itself."""
        return ObjectKey("", "Namespace", self.namespace)

    @property
    def is_suspect(self) -> bool:
        """Whether templates have lost so much that the cause may be a mistake.

        The inventory alone shows it, so a restart does not hide it.
        """
        created = sum(entry.created for entry in self.entries.values())
        return self.cause == "templates" and 2 * created > len(self.inventory.created)

    def digest(self, identities: Iterable[str]) -> str:
        """Return the name of exactly this list of objects."""
        text = "\n".join([self.cluster, self.namespace, self.occasion, *sorted(identities)])
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]


@dataclass(frozen=True)
class Plan:
    """The decision about each leftover object."""

    delete: tuple[ObjectKey, ...] = ()
    release: tuple[ObjectKey, ...] = ()
    """Adopted objects, which stay as they are and leave the inventory."""
    kept: Mapping[ObjectKey, str] = field(default_factory=dict)
    """The reason for each object."""
    unconfirmed: Mapping[ObjectKey, str] = field(default_factory=dict)
    """The identity of each object that is deleted once the list of them is confirmed."""
    digest: str = ""
    """Names the list of unconfirmed objects; empty where there is none."""
    is_suspect: bool = False
    """Whether objects are unconfirmed that their policy deletes at once."""


def identity(key: ObjectKey, entry: Entry) -> str:
    """Return API group, kind, name and uid, such as ``apps/Deployment/web 0b5e…``."""
    path = f"{key.group}/{key}" if key.group else str(key)
    return f"{path} {entry.uid}".rstrip()


def plan(
    leftovers: Leftovers, policies: PrunePolicies, confirmation: PruneChanged | None = None
) -> Plan:
    """Decide about each leftover object."""
    entries, home = leftovers.entries, leftovers.home
    if leftovers.cause == "unclaimed":
        return Plan(kept=dict.fromkeys(entries, _UNCLAIMED))
    suspect = leftovers.is_suspect
    policy = {key: policies.of(key.kind) for key, entry in entries.items() if entry.created}
    kept = {key: _ORPHAN for key, chosen in policy.items() if chosen == "orphan"}
    if home in policy and home not in kept and (kept or leftovers.rendered):
        kept[home] = _OCCUPIED
    waiting = [
        key
        for key, chosen in policy.items()
        if key not in kept and (suspect or chosen == "confirm")
    ]
    listed = {key: identity(key, entries[key]) for key in waiting}
    if _is_confirmed(leftovers, set(listed.values()), confirmation):
        listed = {}
    release = tuple(key for key, entry in entries.items() if not entry.created)
    if home in release and (kept or listed or leftovers.rendered):
        # The namespace carries the inventory, so it is the last to leave it.
        release = tuple(key for key in release if key != home)
    return Plan(
        delete=tuple(key for key in policy if key not in kept and key not in listed),
        release=release,
        kept=kept,
        unconfirmed=listed,
        digest=leftovers.digest(listed.values()) if listed else "",
        is_suspect=suspect,
    )


def _is_confirmed(
    leftovers: Leftovers, listed: Collection[str], confirmation: PruneChanged | None
) -> bool:
    """Return whether the list is the confirmed one, less those that were deleted since."""
    if confirmation is None or not listed:
        return False
    if leftovers.digest(listed) == confirmation.digest:
        return True
    confirmed = set(confirmation.objects)
    if leftovers.digest(confirmed) != confirmation.digest:
        return False
    entries = leftovers.inventory.entries
    return confirmed & {identity(key, entry) for key, entry in entries.items()} == listed
