"""The composition root: makes the parts and joins them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette

from trimtab.runtime import service
from trimtab.runtime.connection import connect
from trimtab.settings.view import View
from trimtab_clusterres import metrics
from trimtab_clusterres.cluster import DirectoryCluster
from trimtab_clusterres.config import ClusterresConfig
from trimtab_clusterres.dirty import Dirty
from trimtab_clusterres.handlers import Handlers
from trimtab_clusterres.worker import Worker


def build(settings: ClusterresConfig) -> Starlette:
    """The service as an application that works for as long as it is served."""
    clusters = {
        name: DirectoryCluster(target.directory)
        for name, target in settings.clusters.items()
        if target.directory is not None
    }

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        dirty = Dirty()
        metrics.observe(dirty)
        async with connect(settings, "clusterres") as client, asyncio.TaskGroup() as tasks:
            handlers = Handlers(
                client,
                dirty,
                namespace_template=settings.namespace_template,
                reached=clusters,
                stale_after_seconds=settings.stale_after_seconds,
            )
            worker = Worker(
                client,
                dirty,
                lambda: handlers.layout,
                clusters=clusters,
                templates=settings.templates,
            )
            app.state.view = handlers.view
            running = [handlers.view.follow(), worker.run()]
            started = [tasks.create_task(work) for work in running]
            yield
            for task in started:
                task.cancel()

    def checks() -> dict[str, str]:
        view: View = app.state.view
        if view.ready:
            return {}
        return {"settings": f"not proved for {view.age_seconds:.0f} s"}

    def facts() -> dict[str, Any]:
        view: View = app.state.view
        return view.summary()

    app = service.health_app(checks, lifespan, facts)
    return app
