"""The failure of one namespace, also by a defect, ends the try of this namespace only."""

import asyncio
from collections.abc import Sequence
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


async def test_a_defect_that_one_namespace_meets_is_its_status_and_is_retried(
    client: Client,
    statuses: Statuses,
    templates: Path,
    clusters: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = Settings()
    values = record({"attributes": {"cpu": "4"}}, kind="cluster_resource")
    for revision, event in enumerate([*WORLD, ProjectChanged(name="beta"), values], 1):
        settings.apply(event, revision)
    queue = WorkQueue(retry_seconds=0.05)
    layout = Layout(settings, "{{ project }}-{{ domain }}", ["east"])
    published = Published(client)
    watch = TemplateWatch([templates], deadline_seconds=PATIENCE_SECONDS)
    cluster = DefectiveCluster(clusters / "east")
    reconciler = Reconciler(
        "east",
        Applier("east", cluster, queue),
        Pruner("east", cluster, PrunePolicies(), PATIENCE_SECONDS),
        published=published,
        layout=lambda: layout,
        templates=watch,
        deadline_seconds=PATIENCE_SECONDS,
    )
    queue.mark(["alpha-development", "beta-development"])
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        following = [published.follow(), watch.follow(lambda: None)]
        started = [group.create_task(each) for each in following]
        working = group.create_task(Worker(reconciler, queue, Active(5)).run())
        error = await statuses.until(1, "failed")
        while {s.namespace for s in statuses.seen if s.state == "ready"} != set(layout.targets):
            await asyncio.sleep(0.02)
        for task in (*started, working):
            task.cancel()
    assert error == "a defect of clusterres: ZeroDivisionError: division by zero"
    states = [each.state for each in statuses.seen if each.namespace == "alpha-development"]
    assert states == ["failed", "ready"]  # the same failure is published once
    defects = [each for each in caplog.records if each.message == "namespace.defect"]
    assert all(each.exc_info for each in defects)
    assert len(defects) == 3
