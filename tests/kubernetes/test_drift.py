"""Changes by something else are seen, and repaired or reported, on a real API server."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from kubernetes import client

from tests.kubernetes.clusters import Cluster
from tests.servers import PATIENCE_SECONDS
from trimtab.templates.manifests import Manifest
from trimtab_clusterres.applying import Applier
from trimtab_clusterres.clusters.kubernetes.access import Kubeconfig
from trimtab_clusterres.clusters.kubernetes.cluster import KubernetesCluster
from trimtab_clusterres.clusters.port import Result
from trimtab_clusterres.drift import ANNOTATION, Policy
from trimtab_clusterres.observing import Observer
from trimtab_clusterres.queue import WorkQueue

APPLY = "application/apply-patch+yaml"
HOUR = 3600.0


def manifest(kind: str, name: str, policy: str = "", **fields: Any) -> Manifest:
    metadata: dict[str, Any] = {"name": name}
    if policy:
        metadata["annotations"] = {ANNOTATION: policy}
    body = {"apiVersion": "v1", "kind": kind, "metadata": metadata, **fields}
    return Manifest("", kind, name, body)


def settings(policy: str = "", **data: str) -> Manifest:
    return manifest("ConfigMap", "settings", policy, data=data)


def quota(**hard: str) -> Manifest:
    hard = {name.replace("_", "/"): limit for name, limit in hard.items()}
    return manifest("ResourceQuota", "project-quota", spec={"hard": hard})


class System:
    """One namespace that is kept up to date, and another client of the cluster."""

    def __init__(self, cluster: KubernetesCluster, given: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.core = client.CoreV1Api(given.api)
        self.queue = WorkQueue()
        self.manifests: Sequence[Manifest] = ()
        self.results: Mapping[str, Result] = {}
        self.passes = 0

    @asynccontextmanager
    async def running(
        self, *manifests: Manifest, policy: Policy = "enforce", check_seconds: float = HOUR
    ) -> AsyncIterator[None]:
        """Keep the namespace up to date, and wait for the first apply."""
        self.manifests = (manifest("Namespace", self.namespace), *manifests)
        observer = Observer(self.cluster, self.queue, lambda: [self.namespace])
        applier = Applier(self.cluster, self.queue, policy)
        work = (self._work(applier), observer.run(check_seconds))
        running = [asyncio.create_task(each) for each in work]
        try:
            self.queue.mark([self.namespace])
            await self.until(lambda: self.passes > 0)
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    async def _work(self, applier: Applier) -> None:
        while True:
            item = await self.queue.take()
            results = await applier.apply(self.namespace, self.manifests)
            self.results = {each.key.name: each for each in results}
            self.passes += 1
            self.queue.done(item)

    async def until(self, is_so: Any, seconds: float = PATIENCE_SECONDS) -> None:
        async with asyncio.timeout(seconds):
            while not await asyncio.to_thread(is_so):
                await asyncio.sleep(0.05)

    def change(self, settings: Manifest) -> None:
        """Change the settings, as an admin does."""
        self.manifests = (*self.manifests[:-1], settings)
        self.queue.mark([self.namespace])

    def data(self) -> dict[str, str]:
        return self.core.read_namespaced_config_map("settings", self.namespace).data

    def edit(self, manager: str = "kubectl-edit", **data: str | None) -> None:
        self.core.patch_namespaced_config_map(
            "settings", self.namespace, {"data": data}, field_manager=manager
        )

    def apply(self, manager: str, **data: str) -> None:
        body = settings(**data).body
        self.core.patch_namespaced_config_map(
            "settings",
            self.namespace,
            body,
            field_manager=manager,
            force=True,
            _content_type=APPLY,
        )


@pytest.fixture
async def kubernetes(cluster: Cluster) -> AsyncIterator[KubernetesCluster]:
    found = KubernetesCluster(Kubeconfig(cluster.kubeconfig))
    yield found
    await found.close()


@pytest.fixture
def system(kubernetes: KubernetesCluster, cluster: Cluster, prefix: str) -> System:
    return System(kubernetes, cluster, f"{prefix}drift")


async def test_edits_and_deletions_are_repaired(system: System) -> None:
    async with system.running(settings(x="1", y="1"), quota(pods="10")):
        system.edit(x="edited")
        await system.until(lambda: system.data() == {"x": "1", "y": "1"}, 5)
        system.edit(y=None)
        await system.until(lambda: system.data() == {"x": "1", "y": "1"}, 5)
        await system.until(lambda: system.queue.depth == 0)
        system.core.delete_namespaced_resource_quota("project-quota", system.namespace)

        def is_repaired() -> bool:
            found = system.core.list_namespaced_resource_quota(system.namespace).items
            return [each.spec.hard for each in found] == [{"pods": "10"}]

        await system.until(is_repaired, 5)
