"""The namespaces on each cluster, and those that a change of the settings affects. Pure."""

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

from trimtab.kinds import cluster_resource
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import (
    ClusterChanged,
    DomainChanged,
    Event,
    ProjectChanged,
    PruneChanged,
    RecordChanged,
)
from trimtab.settings import namespaces
from trimtab.settings.state import Settings


class Placement(NamedTuple):
    """A namespace on a cluster, which is rendered, applied and reported on its own."""

    cluster: str
    namespace: str


class Layout:
    """Every active project in every domain, on every enabled cluster that this service reaches.

    Create a new one when a project or domain has changed. Clusters and values are read from the
    settings at each access.
    """

    def __init__(self, settings: Settings, template: str, reachable: Collection[str]) -> None:
        """``template`` names namespaces; ``reachable`` are the clusters configured here."""
        self.settings = settings
        self._template = template
        self._reachable = reachable
        self._names: dict[Scope, str] = {
            Scope(domain, project.name): self._name(project.name, domain)
            for project in settings.projects.values()
            if project.state == "active"
            for domain in settings.domains
        }

    @property
    def clusters(self) -> list[str]:
        """Names of the clusters that namespaces are made on."""
        return [name for name in self._enabled if name in self._reachable]

    @property
    def unreachable(self) -> list[str]:
        """Names of the enabled clusters that are not configured here."""
        return [name for name in self._enabled if name not in self._reachable]

    @property
    def _enabled(self) -> list[str]:
        return [cluster.name for cluster in self.settings.clusters.values() if cluster.enabled]

    @property
    def placements(self) -> set[Placement]:
        return self._on(self.clusters, self._names.values())

    def has(self, placement: Placement) -> bool:
        return placement.namespace in self.targets and placement.cluster in self.clusters

    def missing_reason(self, placement: Placement) -> str:
        """Return why this service does not keep a namespace up to date.

        Empty where it does, and where another clusterres reaches the cluster.
        """
        cluster = self.settings.clusters.get(placement.cluster)
        if cluster is None:
            return f"cluster {placement.cluster!r} does not exist any longer"
        if not cluster.enabled:
            return f"cluster {placement.cluster!r} is disabled"
        if placement.cluster in self._reachable and placement.namespace not in self.targets:
            if (target := self.archived.get(placement.namespace)) is not None:
                return f"project {target.project!r} is archived"
            return "no active project and domain have this namespace any longer"
        return ""

    @cached_property
    def targets(self) -> Mapping[str, tuple[Scope, ...]]:
        """The projects and domains of each namespace, by its name: usually one."""
        targets: dict[str, tuple[Scope, ...]] = {}
        for target, name in self._names.items():
            targets[name] = (*targets.get(name, ()), target)
        return targets

    @cached_property
    def archived(self) -> Mapping[str, Scope]:
        """The project and domain of each namespace that an archived project has, by its name.

        There is none where namespaces are for several projects: other projects may need them.
        """
        if namespaces.PROJECT not in self._template:
            return {}
        found = {
            self._name(project.name, domain): Scope(domain, project.name)
            for project in self.settings.projects.values()
            if project.state == "archived"
            for domain in self.settings.domains
        }
        return {name: target for name, target in found.items() if name not in self.targets}

    @property
    def removals(self) -> set[Placement]:
        """The namespaces of archived projects, on the clusters where objects may be left."""
        return self._on(self.clusters, self.archived)

    def occasion(self, namespace: str) -> str:
        """Return what differs each time that the project of a namespace is archived."""
        if (target := self.archived.get(namespace)) is None:
            return ""
        revision = self.settings.digest.revision_of(subjects.project(target.project))
        return f"archived at revision {revision}"

    def attributes(self, namespace: str) -> dict[Scope, dict[str, str]]:
        """Return the values for each target of a namespace. Raises `trimtab.errors.Unreadable`."""
        kind = cluster_resource.KIND.name
        return {
            target: dict(self.settings.effective(kind, target).document.get("attributes", {}))
            for target in self.targets[namespace]
        }

    def affected(self, event: Event) -> set[Placement]:
        """Return the placements whose manifests may differ after the event."""
        match event:
            case RecordChanged(kind=cluster_resource.KIND.name):
                return self._on(self.clusters, self._under(event.scope))
            case ProjectChanged(name=name):
                # Also of one that is archived or deleted: objects may be left.
                names = [self._name(name, domain) for domain in self.settings.domains]
                return self._on(self.clusters, names)
            case DomainChanged(name=name):
                return self._on(self.clusters, self._under(Scope(domain=name)))
            case ClusterChanged(name=name) if name in self.clusters:
                return self._on([name], [*self._names.values(), *self.archived])
            case PruneChanged(cluster=cluster, namespace=namespace) if cluster in self.clusters:
                return {Placement(cluster, namespace)}
            case _:
                return set()

    def _name(self, project: str, domain: str) -> str:
        return namespaces.name(self._template, project, domain)

    def _under(self, scope: Scope) -> list[str]:
        if scope in self._names:  # The common case, without a search of every namespace.
            return [self._names[scope]]
        return [name for target, name in self._names.items() if scope.covers(target)]

    def _on(self, clusters: Iterable[str], names: Collection[str]) -> set[Placement]:
        return {Placement(cluster, name) for cluster in clusters for name in names}
