"""The composition root: makes the parts of clusterres and joins them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from trimtab.runtime import service
from trimtab.runtime.connection import connect
from trimtab.settings.view import View
from trimtab_clusterres import metrics
from trimtab_clusterres.applying import Applier
from trimtab_clusterres.clusters.directory import DirectoryCluster
from trimtab_clusterres.clusters.port import Cluster
from trimtab_clusterres.config import ClusterAccess, ClusterresConfig
from trimtab_clusterres.differences import DifferenceReplies
from trimtab_clusterres.handlers import Handlers
from trimtab_clusterres.leadership import Leadership
from trimtab_clusterres.leftovers import Pruner
from trimtab_clusterres.namespaces import Layout
from trimtab_clusterres.observing import Observer
from trimtab_clusterres.queue import Priority, WorkQueue
from trimtab_clusterres.reconciling import Reconciler
from trimtab_clusterres.reporting import Reporting
from trimtab_clusterres.reviews import ClusterReview
from trimtab_clusterres.statuses import Statuses
from trimtab_clusterres.sweeping import Sweeper
from trimtab_clusterres.template_watch import TemplateWatch
from trimtab_clusterres.worker import Worker

_TEMPLATES_SECONDS = 5.0
"""How long a directory of templates may take to answer."""


def build(config: ClusterresConfig) -> Starlette:
    """Return the service as an application that works for as long as it is served."""
    leadership = Leadership(config.leader_lease_seconds)
    clusters = {
        name: cluster
        for name, access in config.clusters.items()
        if (cluster := _cluster(access, leadership.check)) is not None
    }

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        queues = {name: WorkQueue() for name in clusters}
        metrics.observe(queues)
        async with connect(config, "clusterres") as client, asyncio.TaskGroup() as tasks:
            published = Statuses(client, leadership.check)
            handlers = Handlers(
                client,
                queues,
                namespace_template=config.namespace_template,
                stale_after_seconds=config.stale_after_seconds,
                on_layout=published.notify,
                on_reloaded=lambda: sweep_all(),
            )

            def known_layout() -> Layout | None:
                """Return the layout of the replica that acts."""
                return handlers.layout if handlers.is_loaded and leadership.is_active else None

            deadline_seconds = config.cluster_timeout_seconds
            sweepers = [
                Sweeper(name, cluster, queues[name], known_layout, deadline_seconds)
                for name, cluster in clusters.items()
            ]

            def sweep_all() -> None:
                for sweeper in sweepers:
                    sweeper.notify()

            read_values = config.cluster_resources.read_values
            users: dict[Sequence[Path], list[str]] = {}
            for name in clusters:
                users.setdefault(config.template_directories(name), []).append(name)
            watches = {
                directories: TemplateWatch(
                    directories, read_values, deadline_seconds=_TEMPLATES_SECONDS
                )
                for directories in users
            }
            pruners = {
                name: Pruner(name, cluster, config.clusters[name].prune, deadline_seconds)
                for name, cluster in clusters.items()
            }
            reconcilers = [
                Reconciler(
                    name,
                    Applier(name, cluster, queues[name], config.clusters[name].drift),
                    pruners[name],
                    published=published,
                    layout=lambda: handlers.layout,
                    templates=watches[config.template_directories(name)],
                    deadline_seconds=deadline_seconds,
                )
                for name, cluster in clusters.items()
            ]
            workers = [Worker(one, queues[one.name], leadership) for one in reconcilers]
            app.state.view = handlers.view
            app.state.workers = dict(zip(clusters, workers, strict=True))
            app.state.templates = list(watches.values())
            app.state.reviews = reviews = [
                ClusterReview(
                    name,
                    cluster,
                    watches[config.template_directories(name)].current,
                    deadline_seconds=config.cluster_timeout_seconds,
                )
                for name, cluster in clusters.items()
            ]

            def on_active() -> None:
                """Apply everything, because another replica may have acted."""
                for name, queue in queues.items():
                    names = [*handlers.namespaces(name), *handlers.removals(name)]
                    queue.mark(names, priority=Priority.BULK, verify=True)
                for pruner in pruners.values():
                    pruner.forget_all()
                published.notify()
                sweep_all()

            reporting = Reporting(
                client,
                reviews,
                is_active=lambda: leadership.is_active,
                reasons=checks,
                revision=lambda: handlers.view.settings.revision,
            )
            observers = [
                Observer(name, cluster, queues[name], partial(handlers.namespaces, name))
                for name, cluster in clusters.items()
                if config.clusters[name].drift != "off"
            ]
            running = [
                handlers.view.follow(),
                published.follow(),
                DifferenceReplies(client, reconcilers, lambda: leadership.is_active).run(),
                published.remove_missing(known_layout),
                leadership.follow(client, on_active),
                reporting.run(),
                *(review.run() for review in reviews),
                *(
                    watch.follow(partial(handlers.on_templates, users[directories]))
                    for directories, watch in watches.items()
                ),
                *(worker.run() for worker in workers),
                *(observer.run(config.drift_check_seconds) for observer in observers),
                *(sweeper.run(config.drift_check_seconds) for sweeper in sweepers),
            ]
            started = [tasks.create_task(work) for work in running]
            yield
            for task in started:
                task.cancel()
            await asyncio.wait(started)
            for cluster in clusters.values():
                await cluster.close()
            await leadership.release(client)

    def checks() -> dict[str, str]:
        view: View = app.state.view
        blocked = [watch.blocked for watch in app.state.templates if watch.blocked]
        reasons = {"templates": "; ".join(blocked)} if blocked else {}
        if not view.ready:
            reasons["settings"] = f"not verified for {view.age_seconds:.0f} s"
        return reasons

    def facts() -> dict[str, Any]:
        view: View = app.state.view
        watches: Sequence[TemplateWatch] = app.state.templates
        reviews: Sequence[ClusterReview] = app.state.reviews
        unwatched = {name: list(each.unwatched) for name, each in clusters.items()}
        return {
            **view.summary(),
            "templates": [watch.summary() for watch in watches],
            **leadership.summary(),
            "clusters": {name: worker.summary() for name, worker in app.state.workers.items()},
            "unwatched": {name: kinds for name, kinds in unwatched.items() if kinds},
            "problems": {each.name: each.problems for each in reviews if each.problems},
        }

    app = service.health_app(checks, lifespan, facts)
    return app


def _cluster(access: ClusterAccess, fence: Callable[[], None]) -> Cluster | None:
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
