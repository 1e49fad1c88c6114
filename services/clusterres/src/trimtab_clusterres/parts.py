"""The parts that work on one cluster. Several clusters may share their templates only."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from trimtab_clusterres.applying import Applier
from trimtab_clusterres.clusters.directory import DirectoryCluster
from trimtab_clusterres.clusters.port import Cluster
from trimtab_clusterres.config import ClusterAccess, ClusterresConfig
from trimtab_clusterres.handlers import Handlers
from trimtab_clusterres.leadership import Leadership
from trimtab_clusterres.namespaces import Layout
from trimtab_clusterres.pruning.pruner import Pruner
from trimtab_clusterres.queue import Priority, WorkQueue
from trimtab_clusterres.reconciling import Reconciler
from trimtab_clusterres.replies.reviews import ClusterReview
from trimtab_clusterres.statuses import Statuses
from trimtab_clusterres.watching.lost import LostNamespaces
from trimtab_clusterres.watching.observing import Observer
from trimtab_clusterres.watching.template_watch import TemplateWatch
from trimtab_clusterres.worker import Worker


@dataclass(frozen=True)
class ClusterParts:
    """Run everything of `running` for as long as the service runs."""

    cluster: Cluster
    queue: WorkQueue
    pruner: Pruner
    reconciler: Reconciler
    worker: Worker
    observer: Observer | None
    """``None`` where the policy about drift is ``off``."""
    lost: LostNamespaces
    review: ClusterReview

    def running(self, check_seconds: float) -> list[Coroutine[Any, Any, None]]:
        """Return the work that goes on until it is cancelled."""
        work = [self.worker.run(), self.lost.run(check_seconds), self.review.run()]
        return work if self.observer is None else [*work, self.observer.run(check_seconds)]

    def apply_all(self, handlers: Handlers) -> None:
        """Apply every namespace, because another replica may have acted."""
        name = self.reconciler.name
        namespaces = [*handlers.namespaces(name), *handlers.removals(name)]
        self.queue.mark(namespaces, priority=Priority.BULK, verify=True)
        self.pruner.forget_all()
        self.lost.notify()


def cluster_parts(
    name: str,
    cluster: Cluster,
    queue: WorkQueue,
    templates: TemplateWatch,
    *,
    config: ClusterresConfig,
    handlers: Handlers,
    leadership: Leadership,
    published: Statuses,
    known_layout: Callable[[], Layout | None],  # None where this replica does not act
) -> ClusterParts:
    """Make the parts of one cluster and join them."""
    access, deadline_seconds = config.clusters[name], config.cluster_timeout_seconds
    pruner = Pruner(name, cluster, access.prune, deadline_seconds)
    reconciler = Reconciler(
        name,
        Applier(name, cluster, queue, access.drift),
        pruner,
        published=published,
        layout=lambda: handlers.layout,
        templates=templates,
        deadline_seconds=deadline_seconds,
    )
    observer = Observer(name, cluster, queue, partial(handlers.namespaces, name))
    return ClusterParts(
        cluster=cluster,
        queue=queue,
        pruner=pruner,
        reconciler=reconciler,
        worker=Worker(reconciler, queue, leadership),
        observer=None if access.drift == "off" else observer,
        lost=LostNamespaces(name, cluster, queue, known_layout, deadline_seconds),
        review=ClusterReview(name, cluster, templates.current, deadline_seconds=deadline_seconds),
    )


def reached(access: ClusterAccess, fence: Callable[[], None]) -> Cluster | None:
    """Return the cluster; ``None`` where this service does not reach it."""
    if access.directory is not None:
        return DirectoryCluster(access.directory, fence=fence)
    if access.api_server is None:
        return None
    # The client takes half a second and 50 MB, which a directory does not need.
    from trimtab_clusterres.clusters.kubernetes.cluster import KubernetesCluster  # noqa: PLC0415

    return KubernetesCluster(
        access.api_server, request_timeout_seconds=access.request_timeout_seconds, fence=fence
    )
