"""Changes by something else are seen, and repaired or reported, on a real API server."""

import asyncio
import gc
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes import client

from tests.kubernetes import faults
from tests.kubernetes.clusters import Cluster
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.faults import FaultProxy
from tests.servers import PATIENCE_SECONDS
from trimtab.errors import Unavailable
from trimtab.templates.manifests import Manifest
from trimtab_clusterres.applying import Applier
from trimtab_clusterres.clusters.kubernetes import observed, watching
from trimtab_clusterres.clusters.kubernetes.access import Kubeconfig
from trimtab_clusterres.clusters.kubernetes.cluster import KubernetesCluster
from trimtab_clusterres.clusters.port import FIELD_MANAGER, Result
from trimtab_clusterres.drift import ANNOTATION, Policy
from trimtab_clusterres.queue import WorkQueue
from trimtab_clusterres.watching.observing import Observer

APPLY = "application/apply-patch+yaml"
HOUR = 3600.0
GOAL_SECONDS = 5.0


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
        observer = Observer("c", self.cluster, self.queue, lambda: [self.namespace])
        applier = Applier("c", self.cluster, self.queue, policy)
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
            try:
                results = await applier.apply(self.namespace, self.manifests)
            except Unavailable:
                self.queue.failed(self.namespace)
            else:
                self.queue.succeeded(self.namespace)
                self.results = {each.key.name: each for each in results}
                self.passes += 1
            self.queue.done(item)

    async def until(self, is_so: Any, seconds: float = PATIENCE_SECONDS) -> None:
        async with asyncio.timeout(seconds):
            while True:
                with suppress(client.ApiException):
                    if await asyncio.to_thread(is_so):
                        return
                await asyncio.sleep(0.05)

    def change(self, settings: Manifest) -> None:
        """Change the settings, as an admin does."""
        self.manifests = (*self.manifests[:-1], settings)
        self.queue.mark([self.namespace])

    def data(self) -> dict[str, str]:
        return self.core.read_namespaced_config_map("settings", self.namespace).data

    def limits(self) -> list[dict[str, str]]:
        found = self.core.list_namespaced_resource_quota(self.namespace).items
        return [each.spec.hard for each in found]

    def used(self) -> dict[str, str]:
        [found] = self.core.list_namespaced_resource_quota(self.namespace).items
        return found.status.used or {}

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


@asynccontextmanager
async def connected(
    kubeconfig: Path, request_timeout_seconds: float = 10.0
) -> AsyncIterator[KubernetesCluster]:
    access = Kubeconfig(kubeconfig)
    found = KubernetesCluster(access, request_timeout_seconds=request_timeout_seconds)
    try:
        yield found
    finally:
        await found.close()


@pytest.fixture
async def system(cluster: Cluster, prefix: str) -> AsyncIterator[System]:
    async with connected(cluster.kubeconfig) as found:
        yield System(found, cluster, f"{prefix}drift")


@pytest.fixture
async def behind_proxy(
    cluster: Cluster, fault_proxy: FaultProxy, prefix: str
) -> AsyncIterator[System]:
    """A system whose requests all go through the proxy; those of the other client do not."""
    async with connected(fault_proxy.kubeconfig) as found:
        yield System(found, cluster, f"{prefix}drift")


async def test_edits_and_deletions_are_repaired(system: System) -> None:
    async with system.running(settings(x="1", y="1"), quota(pods="10")):
        system.edit(x="edited")
        await system.until(lambda: system.data() == {"x": "1", "y": "1"}, GOAL_SECONDS)
        system.edit(y=None)
        await system.until(lambda: system.data() == {"x": "1", "y": "1"}, GOAL_SECONDS)
        system.core.delete_namespaced_resource_quota("project-quota", system.namespace)
        await system.until(lambda: system.limits() == [{"pods": "10"}], GOAL_SECONDS)


async def test_a_namespace_that_is_deleted_is_made_again_with_its_objects(system: System) -> None:
    async with system.running(settings(x="1")):
        before = system.core.read_namespace(system.namespace).metadata.uid
        system.core.delete_namespace(system.namespace)

        def is_made_again() -> bool:
            found = system.core.read_namespace(system.namespace).metadata
            return found.uid != before and system.data() == {"x": "1"}

        await system.until(is_made_again)


async def test_a_cluster_scoped_object_is_repaired(system: System, prefix: str) -> None:
    name, rule = f"{prefix}role", {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    body = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [rule],
    }
    role = Manifest("rbac.authorization.k8s.io", "ClusterRole", name, body)
    rbac = client.RbacAuthorizationV1Api(system.core.api_client)
    try:
        async with system.running(role, settings(x="1")):
            rbac.patch_cluster_role(name, {"rules": []})
            await system.until(lambda: rbac.read_cluster_role(name).rules, GOAL_SECONDS)
    finally:
        rbac.delete_cluster_role(name)


async def test_a_stale_process_does_not_win(system: System) -> None:
    async with system.running(settings(x="1", y="1")):
        system.apply(FIELD_MANAGER, x="stale", y="stale")
        await system.until(lambda: system.data() == {"x": "1", "y": "1"}, GOAL_SECONDS)


async def test_own_writes_status_updates_and_fields_of_others_cause_no_apply(
    behind_proxy: System, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An update within the second of an apply may be one under the same manager, and is looked at.
    monkeypatch.setattr(observed, "_SAME_TIME_SECONDS", 0.0)
    system = behind_proxy
    async with system.running(quota(**{"count_configmaps": "10"}), settings(x="1")):
        used = system.used
        await system.until(lambda: used().get("count/configmaps") == "2")  # kube-root-ca.crt
        fault_proxy.requests.clear()
        for name in ("a", "b", "c"):
            body = {"metadata": {"name": name}}
            system.core.create_namespaced_config_map(system.namespace, body)
        await system.until(lambda: used().get("count/configmaps") == "5")
        system.edit(manager="other", z="theirs")
        for _ in range(10):  # looks, in which nothing may be requested
            await asyncio.sleep(0.1)
            assert [one for one in fault_proxy.requests if not one.watch] == []
        system.edit(x="edited")
        await system.until(lambda: system.data() == {"x": "1", "z": "theirs"}, GOAL_SECONDS)
        assert [one.method for one in fault_proxy.requests if one.method != "GET"] == ["PATCH"] * 2


async def test_a_fight_backs_off_is_reported_and_does_not_delay_the_settings(
    system: System,
) -> None:
    async with system.running(settings(x="1")):

        def fight() -> bool:
            if system.data() == {"x": "1"}:
                system.edit(manager="helm", x="theirs")
            return system.results["settings"].outcome == "drifted"

        await system.until(fight)
        message = system.results["settings"].message
        assert "changed by helm: data.x; repaired 3 times in a row" in message
        assert system.data() == {"x": "theirs"}
        system.change(settings(x="2"))
        await system.until(lambda: system.data() == {"x": "2"}, 2)


async def test_warn_reports_and_leaves_what_others_changed(system: System) -> None:
    async with system.running(settings(x="1", y="1", z="1"), policy="warn"):
        system.edit(manager="helm", x="theirs", z=None)
        await system.until(lambda: system.results["settings"].outcome == "drifted", GOAL_SECONDS)
        assert system.results["settings"].message == "changed by helm: data.x, data.z"
        assert system.data() == {"x": "theirs", "y": "1"}
        system.change(settings(x="2", y="2", z="1"))
        await system.until(lambda: system.data() == {"x": "theirs", "y": "2", "z": "1"})
        await system.until(lambda: system.results["settings"].message == "changed by helm: data.x")
        system.core.delete_namespaced_config_map("settings", system.namespace)
        await system.until(lambda: system.results["settings"].message == "deleted", GOAL_SECONDS)


async def test_warn_leaves_also_after_a_restart_what_others_changed(
    system: System, cluster: Cluster
) -> None:
    manifests = (quota(pods="10"), settings(x="1", y="1", z="1"))
    async with system.running(*manifests, policy="warn"):
        pass
    system.edit(manager="helm", x="theirs", y=None)
    system.core.delete_namespaced_resource_quota("project-quota", system.namespace)
    async with connected(cluster.kubeconfig) as found:
        restarted = System(found, cluster, system.namespace)
        async with restarted.running(*manifests, policy="warn"):
            messages = {name: each.message for name, each in restarted.results.items()}
            assert messages == {
                system.namespace: "",
                "project-quota": "deleted",
                "settings": "changed by helm: data.x, data.y",
            }
            # It watches what it has only compared.
            system.edit(manager="helm", z="theirs")
            text = "changed by helm: data.x, data.y, data.z"
            await restarted.until(lambda: restarted.results["settings"].message == text)
        assert system.data() == {"x": "theirs", "z": "theirs"}
        assert system.limits() == []


async def test_an_object_can_opt_out(system: System) -> None:
    async with system.running(quota(pods="10"), settings("off", x="1")):
        system.edit(x="edited")
        system.core.delete_namespaced_resource_quota("project-quota", system.namespace)
        await system.until(lambda: system.limits() == [{"pods": "10"}], GOAL_SECONDS)
        # The quota is there before the other object was looked at.
        await system.until(lambda: system.results["settings"].outcome == "unchanged")
        assert system.data() == {"x": "edited"}


@pytest.mark.parametrize(
    "fault",
    [
        faults.status(410, "Expired"),
        faults.expired_in_stream(),
        faults.cut(),
        faults.status(500, ""),
    ],
    ids=["410", "410 in the stream", "cut", "500"],
)
async def test_a_watch_that_is_interrupted_misses_nothing(
    behind_proxy: System,
    fault_proxy: FaultProxy,
    fault: faults.Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "_PAGE", 1)
    system = behind_proxy
    async with system.running(quota(pods="10"), settings(x="1")):
        await system.until(lambda: any(one.watch for one in fault_proxy.requests))
        away = fault_proxy.add(faults.status(503, "ServiceUnavailable"), watch=True)
        fault_proxy.disconnect()
        await system.until(lambda: away.hits >= 2)
        system.core.delete_namespaced_resource_quota("project-quota", system.namespace)
        fault_proxy.add(fault, watch=True, times=3)
        fault_proxy.rules.remove(away)
        await system.until(lambda: system.limits() == [{"pods": "10"}], 2 * GOAL_SECONDS)
        system.edit(x="edited")
        await system.until(lambda: system.data() == {"x": "1"}, GOAL_SECONDS)


async def test_a_watch_that_is_silent_for_too_long_is_opened_again(
    behind_proxy: System, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_STREAM_SECONDS", 1.0)
    monkeypatch.setattr(watching, "_MARGIN_SECONDS", 0.2)
    silent = fault_proxy.add(faults.never, watch=True, path="configmaps", times=2)
    system = behind_proxy
    async with system.running(settings(x="1")):
        await system.until(lambda: silent.hits == 2)
        system.edit(x="edited")
        await system.until(lambda: system.data() == {"x": "1"}, GOAL_SECONDS)


async def test_a_watch_whose_request_is_never_answered_is_opened_again(
    cluster: Cluster, fault_proxy: FaultProxy, prefix: str
) -> None:
    hanging = fault_proxy.add(faults.never, watch=True, times=2)
    async with connected(fault_proxy.kubeconfig, request_timeout_seconds=0.5) as found:
        system = System(found, cluster, f"{prefix}drift")
        async with system.running(settings(x="1")):
            await system.until(lambda: hanging.hits == 2)
            system.edit(x="edited")
            await system.until(lambda: system.data() == {"x": "1"}, GOAL_SECONDS)


async def test_all_is_made_again_in_an_empty_etcd(
    new_control_plane: Callable[..., ControlPlane],
) -> None:
    control_plane = new_control_plane(own_etcd=True)
    given = Cluster(control_plane.kubeconfig)
    with closing(given):
        async with connected(control_plane.kubeconfig) as found:
            system = System(found, given, "drift")
            async with system.running(settings(x="1")):
                # Later versions than any of the new etcd.
                for number in range(300):
                    system.edit(manager="other", y=str(number))
                system.core.patch_namespace(system.namespace, {"metadata": {"labels": {"a": "b"}}})
                servers = (control_plane.etcd, control_plane.api_server)
                for server in reversed(servers):
                    server.kill()
                shutil.rmtree(control_plane.etcd.store)
                for server in servers:
                    await asyncio.to_thread(server.start)
                await system.until(lambda: system.data() == {"x": "1"}, 4 * GOAL_SECONDS)


async def test_a_kind_that_may_not_be_watched_is_reported_and_checked_periodically(
    cluster: Cluster, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    every = ["get", "list", "create", "update", "patch"]
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": every},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": [*every, "watch"]},
    ]
    kubeconfig = cluster.user(f"{prefix}user", rules, tmp_path / "kubeconfig")
    async with connected(kubeconfig) as limited:
        system = System(limited, cluster, f"{prefix}drift")
        async with system.running(settings(x="1"), check_seconds=0.5):
            await system.until(lambda: len(limited.unwatched) == 1)
            assert limited.unwatched[0].startswith("ConfigMap is not watched: configmaps is forb")
            system.edit(x="edited")
            await system.until(lambda: system.data() == {"x": "1"}, GOAL_SECONDS)
    assert [one.message for one in caplog.records].count("cluster.not_watched") == 1


async def test_a_thousand_reconnects_leak_nothing(
    behind_proxy: System, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_FIRST_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(watching, "_LONGEST_DELAY_SECONDS", 0.0)

    async def close(request: web.BaseRequest, _forward: faults.Forward) -> web.StreamResponse:
        fault_proxy.requests.clear()
        return web.Response()

    def held() -> tuple[int, int, int]:
        """Return the number of tasks and of file descriptors, and the memory in pages."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd")), pages

    system = behind_proxy
    async with system.running(settings(x="1")):
        closed = fault_proxy.add(close, watch=True)
        fault_proxy.disconnect()
        await system.until(lambda: closed.hits > 200)
        tasks, files, pages = held()
        await system.until(lambda: closed.hits > 1200)
        tasks_now, files_now, pages_now = held()
        assert tasks_now <= tasks + 4
        assert files_now <= files + 4
        assert (pages_now - pages) * os.sysconf("SC_PAGE_SIZE") < 8e6
        fault_proxy.rules.clear()
        system.edit(x="edited")
        await system.until(lambda: system.data() == {"x": "1"}, GOAL_SECONDS)
