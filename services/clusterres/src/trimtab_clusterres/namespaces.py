"""Which namespaces there are on which clusters, and which of them a change touches. Pure."""

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

from trimtab.kinds import cluster_resource
from trimtab.levels import Scope
from trimtab.messages.events import (
    ClusterChanged,
    DomainChanged,
    Event,
    ProjectChanged,
    RecordChanged,
)
from trimtab.settings import namespaces
from trimtab.settings.state import Settings


class Place(NamedTuple):
    """A namespace on a cluster: what is rendered, applied and reported on its own."""

    cluster: str
    namespace: str


class Layout:
    """Every active project in every domain, on every enabled cluster that this service reaches.

    Made anew whenever a project or domain changed; clusters and values are read when asked for.
    """

    def __init__(self, settings: Settings, template: str, reached: Collection[str]) -> None:
        """``template`` names namespaces; ``reached`` are the clusters that we have access to."""
        self.settings = settings
        self._reached = reached
        self._names: dict[Scope, str] = {
            Scope(domain, project.name): namespaces.name(template, project.name, domain)
            for project in settings.projects.values()
            if project.state == "active"
            for domain in settings.domains
        }

    @property
    def clusters(self) -> list[str]:
        """Where namespaces are made."""
        return [name for name in self._enabled if name in self._reached]

    @property
    def out_of_reach(self) -> list[str]:
        """Clusters that are enabled, and that this service has no access to."""
        return [name for name in self._enabled if name not in self._reached]

    @property
    def _enabled(self) -> list[str]:
        return [cluster.name for cluster in self.settings.clusters.values() if cluster.enabled]

    @property
    def places(self) -> set[Place]:
        return self._on(self.clusters, self._names.values())

    def has(self, place: Place) -> bool:
        return place.namespace in self.targets and place.cluster in self.clusters

    @cached_property
    def targets(self) -> Mapping[str, tuple[Scope, ...]]:
        """By namespace, the projects and domains that it is for: commonly one."""
        targets: dict[str, tuple[Scope, ...]] = {}
        for target, name in self._names.items():
            targets[name] = (*targets.get(name, ()), target)
        return targets

    def attributes(self, namespace: str) -> dict[Scope, dict[str, str]]:
        """The values for each target of a namespace. Raises `trimtab.errors.Unreadable`."""
        kind = cluster_resource.KIND.name
        return {
            target: dict(self.settings.effective(kind, target).document.get("attributes", {}))
            for target in self.targets[namespace]
        }

    def touched(self, event: Event) -> set[Place]:
        """Where a render may come out differently after the event."""
        match event:
            case RecordChanged(kind=cluster_resource.KIND.name):
                return self._on(self.clusters, self._under(event.scope))
            case ProjectChanged(name=name):
                return self._on(self.clusters, self._under(Scope(project=name)))
            case DomainChanged(name=name):
                return self._on(self.clusters, self._under(Scope(domain=name)))
            case ClusterChanged(name=name) if name in self.clusters:
                return self._on([name], self._names.values())
            case _:
                return set()

    def _under(self, scope: Scope) -> list[str]:
        if scope in self._names:  # The common case, without a look at every namespace.
            return [self._names[scope]]
        return [name for target, name in self._names.items() if scope.covers(target)]

    def _on(self, clusters: Iterable[str], names: Collection[str]) -> set[Place]:
        return {Place(cluster, name) for cluster in clusters for name in names}
