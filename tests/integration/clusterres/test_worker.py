"""The failure of one namespace, also by a defect, ends the try of this namespace only."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.integration.clusterres.conftest import WORLD, Statuses
from tests.servers import PATIENCE_SECONDS
from trimtab.messages.events import ProjectChanged
from trimtab.settings.state import Settings
from trimtab.templates.manifests import Manifest
from trimtab.testing import record
from trimtab_clusterres.applying import Applier
from trimtab_clusterres.clusters.directory import DirectoryCluster
from trimtab_clusterres.clusters.port import Result
from trimtab_clusterres.leadership import Leadership
from trimtab_clusterres.namespaces import Layout
from trimtab_clusterres.pruning.policies import PrunePolicies
from trimtab_clusterres.pruning.pruner import Pruner
from trimtab_clusterres.queue import WorkQueue
from trimtab_clusterres.reconciling import Reconciler
from trimtab_clusterres.statuses import Statuses as Published
from trimtab_clusterres.watching.template_watch import TemplateWatch
from trimtab_clusterres.worker import Worker


class Active(Leadership):
    """Always active."""

    is_active = True


class DefectiveCluster(DirectoryCluster):
    """Has a defect that one namespace meets, at its first three tries."""

    tries = 0

    async def apply(
        self, namespace: str, manifests: Sequence[Manifest], *, repair: bool = False
    ) -> tuple[Result, ...]:
        if namespace == "alpha-development":
            self.tries += 1
            if self.tries <= 3:
                raise ZeroDivisionError("division by zero")
        return await super().apply(namespace, manifests, repair=repair)


@asynccontextmanager
async def working(
    client: Client, templates: Path, cluster: DirectoryCluster, queue: WorkQueue
) -> AsyncIterator[set[str]]:
    """Work on the namespaces of two projects, whose names it yields."""
    settings = Settings()
    values = record({"attributes": {"cpu": "4"}}, kind="cluster_resource")
    for revision, event in enumerate([*WORLD, ProjectChanged(name="beta"), values], 1):
        settings.apply(event, revision)
    layout = Layout(settings, "{{ project }}-{{ domain }}", ["east"])
    published = Published(client)
    watch = TemplateWatch([templates], deadline_seconds=PATIENCE_SECONDS)
    reconciler = Reconciler(
        "east",
        Applier("east", cluster, queue),
        Pruner("east", cluster, PrunePolicies(), PATIENCE_SECONDS),
        published=published,
        layout=lambda: layout,
        templates=watch,
        deadline_seconds=PATIENCE_SECONDS,
    )
    queue.mark([*layout.targets])
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        worker = Worker(reconciler, queue, Active(5))
        running = [published.follow(), watch.follow(lambda: None), worker.run()]
        started = [group.create_task(each) for each in running]
        yield {*layout.targets}
        for task in started:
            task.cancel()


async def test_a_defect_that_one_namespace_meets_is_its_status_and_is_retried(
    client: Client,
    statuses: Statuses,
    templates: Path,
    clusters: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue = WorkQueue(retry_seconds=0.05)
    cluster = DefectiveCluster(clusters / "east")
    async with working(client, templates, cluster, queue) as names:
        error = await statuses.until(1, "failed")
        while {s.namespace for s in statuses.seen if s.state == "ready"} != names:
            await asyncio.sleep(0.02)
    assert error == "a defect of clusterres: ZeroDivisionError: division by zero"
    states = [each.state for each in statuses.seen if each.namespace == "alpha-development"]
    assert states == ["failed", "ready"]  # the same failure is published once
    defects = [each for each in caplog.records if each.message == "namespace.defect"]
    assert all(each.exc_info for each in defects)
    assert len(defects) == 3


async def test_drift_that_is_seen_while_no_template_is_usable_is_repaired_afterwards(
    client: Client, statuses: Statuses, templates: Path, clusters: Path
) -> None:
    queue = WorkQueue(retry_seconds=0.05)
    [template] = templates.iterdir()
    content = template.read_text()
    quota = clusters / "east/alpha-development/ResourceQuota-quota.yaml"
    async with working(client, templates, DirectoryCluster(clusters / "east"), queue):
        while not any(each.namespace == "alpha-development" for each in statuses.seen):
            await asyncio.sleep(0.02)
        template.write_text("{{ undefined }}")
        while not any(each.state == "failed" for each in statuses.seen):
            queue.mark(["alpha-development"])
            await asyncio.sleep(0.1)
        quota.unlink()
        queue.mark(["alpha-development"], verify=True)
        while queue.depth:
            await asyncio.sleep(0.02)
        template.write_text(content)
        while not quota.exists():
            await asyncio.sleep(0.02)
