"""The composition root: makes the parts of clusterres and joins them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from starlette.applications import Starlette

from trimtab.runtime import service
from trimtab.runtime.connection import connect
from trimtab_clusterres import metrics
from trimtab_clusterres.clusters.port import Cluster
from trimtab_clusterres.config import ClusterresConfig
from trimtab_clusterres.handlers import Handlers
from trimtab_clusterres.leadership import Leadership
from trimtab_clusterres.namespaces import Layout
from trimtab_clusterres.parts import ClusterParts, cluster_parts, reached
from trimtab_clusterres.queue import WorkQueue
from trimtab_clusterres.replies.differences import DifferenceReplies
from trimtab_clusterres.replies.reporting import Reporting
from trimtab_clusterres.statuses import Statuses
from trimtab_clusterres.watching.template_watch import TemplateWatch

_TEMPLATES_SECONDS = 5.0
"""How long a directory of templates may take to answer."""


def build(config: ClusterresConfig) -> Starlette:
    """Return the service as an application that works for as long as it is served."""
    leadership = Leadership(config.leader_lease_seconds)
    clusters = {
        name: cluster
        for name, access in config.clusters.items()
        if (cluster := reached(access, leadership.check)) is not None
    }

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with connect(config, "clusterres") as client, asyncio.TaskGroup() as tasks:
            app.state.parts = parts = _join(config, client, leadership, clusters)
            started = [tasks.create_task(work) for work in parts.running()]
            yield
            for task in started:
                task.cancel()
            await asyncio.wait(started)
            for cluster in clusters.values():
                await cluster.close()
            await leadership.release(client)

    def checks() -> dict[str, str]:
        parts: _Parts = app.state.parts
        return parts.reasons()

    def facts() -> dict[str, Any]:
        parts: _Parts = app.state.parts
        return parts.facts()

    app = service.health_app(checks, lifespan, facts)
    return app


@dataclass(frozen=True)
class _Parts:
    """Everything that runs; `_join` makes it."""

    config: ClusterresConfig
    client: Client
    leadership: Leadership
    handlers: Handlers
    published: Statuses
    known_layout: Callable[[], Layout | None]
    """Returns the layout, ``None`` before it is known and on a replica that stands by."""
    watches: Mapping[tuple[Path, ...], TemplateWatch]
    """The templates by their directories, which several clusters may use."""
    clusters: Mapping[str, ClusterParts]

    def running(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs until it is cancelled."""
        reconcilers = [each.reconciler for each in self.clusters.values()]
        reporting = Reporting(
            self.client,
            [each.review for each in self.clusters.values()],
            is_active=self._is_active,
            reasons=self.reasons,
            revision=lambda: self.handlers.view.settings.revision,
        )
        seconds = self.config.drift_check_seconds
        return [
            self.handlers.view.follow(),
            self.leadership.follow(self.client, self._on_active),
            self.published.follow(),
            self.published.remove_missing(self.known_layout),
            DifferenceReplies(self.client, reconcilers, self._is_active).run(),
            reporting.run(),
            *(self._follow(directories) for directories in self.watches),
            *(work for each in self.clusters.values() for work in each.running(seconds)),
        ]

    def reasons(self) -> dict[str, str]:
        """Return why the service is not ready."""
        blocked = [watch.blocked for watch in self.watches.values() if watch.blocked]
        reasons = {"templates": "; ".join(blocked)} if blocked else {}
        view = self.handlers.view
        if not view.ready:
            reasons["settings"] = f"not verified for {view.age_seconds:.0f} s"
        return reasons

    def facts(self) -> dict[str, Any]:
        """Return what ``/readyz`` shows beside the reasons."""
        clusters = self.clusters.items()
        unwatched = {name: list(each.cluster.unwatched) for name, each in clusters}
        problems = {name: each.review.problems for name, each in clusters}
        return {
            **self.handlers.view.summary(),
            "templates": [watch.summary() for watch in self.watches.values()],
            **self.leadership.summary(),
            "clusters": {name: each.worker.summary() for name, each in clusters},
            "unwatched": {name: kinds for name, kinds in unwatched.items() if kinds},
            "problems": {name: found for name, found in problems.items() if found},
        }

    def _is_active(self) -> bool:
        return self.leadership.is_active

    def _on_active(self) -> None:
        """Apply everything, because another replica may have acted."""
        for each in self.clusters.values():
            each.apply_all(self.handlers)
        self.published.notify()

    def _follow(self, directories: tuple[Path, ...]) -> Coroutine[Any, Any, None]:
        directories_of = self.config.template_directories
        users = [name for name in self.clusters if directories_of(name) == directories]
        return self.watches[directories].follow(partial(self.handlers.on_templates, users))


def _join(
    config: ClusterresConfig,
    client: Client,
    leadership: Leadership,
    clusters: Mapping[str, Cluster],
) -> _Parts:
    queues = {name: WorkQueue() for name in clusters}
    metrics.observe(queues)
    published = Statuses(client, leadership.check)

    def search() -> None:
        for each in parts.values():
            each.lost.notify()

    handlers = Handlers(
        client,
        queues,
        namespace_template=config.namespace_template,
        stale_after_seconds=config.stale_after_seconds,
        on_layout=published.notify,
        on_reloaded=search,
    )

    def known_layout() -> Layout | None:
        return handlers.layout if handlers.is_loaded and leadership.is_active else None

    watches = _watches(config, clusters)
    parts = {
        name: cluster_parts(
            name,
            cluster,
            queues[name],
            watches[config.template_directories(name)],
            config=config,
            handlers=handlers,
            leadership=leadership,
            published=published,
            known_layout=known_layout,
        )
        for name, cluster in clusters.items()
    }
    return _Parts(config, client, leadership, handlers, published, known_layout, watches, parts)


def _watches(
    config: ClusterresConfig, clusters: Iterable[str]
) -> dict[tuple[Path, ...], TemplateWatch]:
    read_values = config.cluster_resources.read_values
    return {
        directories: TemplateWatch(directories, read_values, deadline_seconds=_TEMPLATES_SECONDS)
        for directories in dict.fromkeys(map(config.template_directories, clusters))
    }
