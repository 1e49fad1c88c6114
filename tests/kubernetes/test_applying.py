"""Server-side apply of clusterres: conflicts, refusals, races and the requests that are sent."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from kubernetes import client
from kubernetes.aio.config import incluster_config
from yarl import URL

from tests.kubernetes import faults, kubeconfigs
from tests.kubernetes.adapters import Adapters, config_map, manifest, namespace, outcomes
from tests.kubernetes.clusters import Cluster
from tests.kubernetes.faults import FaultProxy
from tests.servers import PATIENCE_SECONDS
from trimtab.errors import Rejected, Unavailable
from trimtab_clusterres.clusters.kubernetes import discovery
from trimtab_clusterres.clusters.kubernetes.access import InCluster, Kubeconfig
from trimtab_clusterres.clusters.kubernetes.cluster import KubernetesCluster
from trimtab_clusterres.clusters.port import ApiKind, Result
from trimtab_clusterres.leadership import NotActive

EDITOR = "editor"


class Objects:
    """Objects of one namespace, by another client."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.core = client.CoreV1Api(cluster.api)
        self.name = name

    def data(self, name: str) -> dict[str, str]:
        return self.core.read_namespaced_config_map(name, self.name).data

    def put(self, name: str, **data: str) -> None:
        body: Any = {"metadata": {"name": name}, "data": data}
        self.core.create_namespaced_config_map(self.name, body, field_manager=EDITOR)

    def edit(self, name: str, **data: str) -> None:
        body = {"data": data}
        self.core.patch_namespaced_config_map(name, self.name, body, field_manager=EDITOR)


@pytest.fixture
def objects(cluster: Cluster, prefix: str) -> Objects:
    """The objects of a namespace that no template makes."""
    objects = Objects(cluster, f"{prefix}objects")
    objects.core.create_namespace({"metadata": {"name": objects.name}})
    return objects


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():
            await asyncio.sleep(0.05)


async def test_a_foreign_field_of_an_adopted_object_is_a_conflict(
    adapters: Adapters, objects: Objects
) -> None:
    objects.put("a", x="theirs")
    cluster = adapters.open()
    for _ in range(2):
        [result] = await cluster.apply(objects.name, [config_map("a", x="1")], repair=True)
        assert result.outcome == "conflicted"
        assert EDITOR in result.message
        assert ".data.x" in result.message
    assert objects.data("a") == {"x": "theirs"}
    force = config_map("a", annotations={"trimtab.io/force-conflicts": "true"}, x="1")
    assert outcomes(await cluster.apply(objects.name, [force])) == {"ConfigMap/a": "applied"}
    assert objects.data("a") == {"x": "1"}


async def test_an_edit_of_what_was_applied_is_taken_back_on_repair_only(
    adapters: Adapters, objects: Objects
) -> None:
    cluster, applied = adapters.open(), [config_map("a", x="1")]
    await cluster.apply(objects.name, applied)
    objects.edit("a", x="2", y="2")
    [refused] = await cluster.apply(objects.name, applied)
    assert refused.outcome == "conflicted"
    repaired = await adapters.open().apply(objects.name, applied, repair=True)
    assert outcomes(repaired) == {"ConfigMap/a": "applied"}
    assert objects.data("a") == {"x": "1", "y": "2"}


async def test_an_edit_is_taken_back_together_with_a_change_of_the_template(
    adapters: Adapters, objects: Objects
) -> None:
    cluster = adapters.open()
    await cluster.apply(objects.name, [config_map("a", x="1", y="1")])
    objects.edit("a", x="2", z="2")
    [result] = await cluster.apply(objects.name, [config_map("a", x="3", z="3")], repair=True)
    # Field z was never ours.
    assert result.outcome == "conflicted"
    [result] = await cluster.apply(objects.name, [config_map("a", x="3")], repair=True)
    assert result.outcome == "applied"
    assert objects.data("a") == {"x": "3", "z": "2"}


async def test_equal_objects_cause_no_write_also_after_a_change_of_status(
    adapters: Adapters, fault_proxy: FaultProxy, cluster: Cluster, prefix: str
) -> None:
    objects = Objects(cluster, f"{prefix}new")
    # The control plane creates none of these, so it changes the status once.
    hard = {"persistentvolumeclaims": "5000m"}
    quota = manifest("v1", "ResourceQuota", "quota", spec={"hard": hard})
    manifests = [namespace(objects.name), quota]
    adapter = adapters.open(fault_proxy.kubeconfig)
    first = await adapter.apply(objects.name, manifests)
    assert outcomes(first) == {
        f"Namespace/{objects.name}": "applied",
        "ResourceQuota/quota": "applied",
    }
    read = objects.core.read_namespaced_resource_quota
    await eventually(lambda: bool(read("quota", objects.name).status.used))
    fault_proxy.requests.clear()
    again = await adapter.apply(objects.name, manifests, repair=True)
    assert set(outcomes(again).values()) == {"unchanged"}
    assert {request.method for request in fault_proxy.requests} == {"GET"}
    version = read("quota", objects.name).metadata.resource_version
    restarted = await adapters.open().apply(objects.name, manifests, repair=True)
    assert set(outcomes(restarted).values()) == {"unchanged"}
    assert read("quota", objects.name).metadata.resource_version == version


async def test_a_quota_refuses_one_object_with_its_message_and_one_request(
    adapters: Adapters, fault_proxy: FaultProxy, objects: Objects
) -> None:
    cluster = adapters.open(fault_proxy.kubeconfig)
    quota = manifest("v1", "ResourceQuota", "quota", spec={"hard": {"count/secrets": "0"}})
    await cluster.apply(objects.name, [quota])
    read = objects.core.read_namespaced_resource_quota
    await eventually(lambda: bool(read("quota", objects.name).status.hard))
    fault_proxy.requests.clear()
    secret = manifest("v1", "Secret", "s", stringData={"key": "hidden"})
    results = await cluster.apply(objects.name, [secret, config_map("a", x="1")])
    assert [result.outcome for result in results] == ["failed", "applied"]
    assert "exceeded quota" in results[0].message
    patched = [request.path for request in fault_proxy.requests if request.method == "PATCH"]
    assert len([path for path in patched if path.endswith("/secrets/s")]) == 1


async def test_a_refused_secret_is_reported_without_its_values(
    adapters: Adapters, objects: Objects
) -> None:
    secret = manifest("v1", "Secret", "s", stringData={"key": {"inner": "hidden"}})
    [result] = await adapters.open().apply(objects.name, [secret])
    assert result.outcome == "failed"
    assert ".stringData.key" in result.message
    assert "hidden" not in result.message


async def test_two_ports_of_one_name_are_healed(adapters: Adapters, objects: Objects) -> None:
    ports = [{"name": "http", "port": 80}]
    service = manifest("v1", "Service", "s", spec={"selector": {"a": "b"}, "ports": ports})
    cluster = adapters.open()
    await cluster.apply(objects.name, [service])
    patch = [{"op": "replace", "path": "/spec/ports/0/port", "value": 81}]
    core = objects.core
    core.patch_namespaced_service("s", objects.name, patch, field_manager=EDITOR)
    [refused] = await cluster.apply(objects.name, [service])
    assert refused.outcome == "failed"
    assert "spec.ports[1].name: Duplicate value" in refused.message
    healed = await adapters.open().apply(objects.name, [service], repair=True)
    assert outcomes(healed) == {"Service/s": "applied"}
    found = core.read_namespaced_service("s", objects.name)
    assert [port.port for port in found.spec.ports] == [80]
    managers = {entry.manager for entry in found.metadata.managed_fields}
    assert managers == {"trimtab-clusterres"}


async def test_a_write_that_was_prepared_before_a_newer_one_is_refused(
    adapters: Adapters, fault_proxy: FaultProxy, objects: Objects
) -> None:
    stale, active = adapters.open(fault_proxy.kubeconfig), adapters.open()
    await stale.apply(objects.name, [config_map("a", x="1")])
    slow = fault_proxy.add(faults.slow(0.5), method="PATCH")
    paused = asyncio.create_task(stale.apply(objects.name, [config_map("a", x="old")]))
    await eventually(lambda: slow.hits > 0)
    await active.apply(objects.name, [config_map("a", x="new")], repair=True)
    with pytest.raises(Unavailable, match="changed at the same time"):
        await paused
    assert objects.data("a") == {"x": "new"}


async def test_a_write_is_repeated_where_another_manager_changed_other_fields(
    adapters: Adapters, fault_proxy: FaultProxy, objects: Objects
) -> None:
    cluster = adapters.open(fault_proxy.kubeconfig)
    await cluster.apply(objects.name, [config_map("a", x="1")])
    slow = fault_proxy.add(faults.slow(0.5), method="PATCH", times=1)
    applying = asyncio.create_task(cluster.apply(objects.name, [config_map("a", x="2")]))
    await eventually(lambda: slow.hits > 0)
    objects.edit("a", y="1")
    assert outcomes(await applying) == {"ConfigMap/a": "applied"}
    assert objects.data("a") == {"x": "2", "y": "1"}


async def test_a_change_of_what_was_applied_costs_one_request(
    adapters: Adapters, fault_proxy: FaultProxy, objects: Objects
) -> None:
    cluster = adapters.open(fault_proxy.kubeconfig)
    await cluster.apply(objects.name, [config_map("a", x="1")])
    fault_proxy.requests.clear()
    for value in ("2", "3"):
        changed = await cluster.apply(objects.name, [config_map("a", x=value)], repair=True)
        assert outcomes(changed) == {"ConfigMap/a": "applied"}
    assert [request.method for request in fault_proxy.requests] == ["PATCH", "PATCH"]
    await cluster.apply(objects.name, [config_map("a", x="3")], repair=True)
    assert (await cluster.read(objects.name)).created == {config_map("a").key}
    assert objects.data("a") == {"x": "3"}


async def test_a_change_meets_what_others_changed_unseen(
    adapters: Adapters, fault_proxy: FaultProxy, objects: Objects
) -> None:
    cluster = adapters.open(fault_proxy.kubeconfig)
    names = ("edited", "labelled", "deleted", "made-again")
    await cluster.apply(objects.name, [config_map(name, x="1") for name in names])
    objects.edit("edited", x="theirs")
    objects.edit("labelled", y="theirs")
    for name in ("deleted", "made-again"):
        objects.core.delete_namespaced_config_map(name, objects.name)
    objects.put("made-again", x="theirs")
    fault_proxy.requests.clear()
    found = {}
    for name in names:
        found |= outcomes(await cluster.apply(objects.name, [config_map(name, x="2")]))
    assert found == {
        "ConfigMap/edited": "conflicted",
        "ConfigMap/labelled": "applied",
        "ConfigMap/deleted": "applied",
        "ConfigMap/made-again": "conflicted",
    }
    sent = [request.method for request in fault_proxy.requests if "labelled" in request.path]
    assert sent == ["PATCH", "GET", "PATCH"]
    assert objects.data("labelled") == {"x": "2", "y": "theirs"}


async def test_a_process_that_was_replaced_does_not_write_what_it_remembers(
    adapters: Adapters, objects: Objects
) -> None:
    stale, active = adapters.open(), adapters.open()
    await stale.apply(objects.name, [config_map("a", x="1")])
    await active.apply(objects.name, [config_map("a", x="new")], repair=True)
    with pytest.raises(Unavailable, match="changed at the same time"):
        await stale.apply(objects.name, [config_map("a", x="old")], repair=True)
    assert objects.data("a") == {"x": "new"}
    # The next try begins with a read, as that of a new process.
    again = await stale.apply(objects.name, [config_map("a", x="old")], repair=True)
    assert outcomes(again) == {"ConfigMap/a": "applied"}


async def test_a_replica_that_lost_its_lease_during_a_call_sends_no_write(
    kubeconfig: Path, cluster: Cluster, prefix: str
) -> None:
    checks = 0

    def fence() -> None:
        nonlocal checks
        checks += 1
        if checks > 2:  # the Namespace with its record, and the template's Namespace
            raise NotActive("this replica is a standby")

    adapter = KubernetesCluster(Kubeconfig(kubeconfig), fence=fence)
    name = f"{prefix}fenced"
    try:
        with pytest.raises(NotActive):
            await adapter.apply(name, [namespace(name), config_map("a", x="1")])
    finally:
        await adapter.close()
    found = client.CoreV1Api(cluster.api).list_namespaced_config_map(name).items
    assert "a" not in [one.metadata.name for one in found]


async def test_a_namespace_is_created_with_its_record_and_made_again_after_a_deletion(
    adapters: Adapters, cluster: Cluster, prefix: str
) -> None:
    objects = Objects(cluster, f"{prefix}new")
    adapter, manifests = adapters.open(), [namespace(objects.name), config_map("a", x="1")]
    await adapter.apply(objects.name, manifests)
    assert (await adapter.read(objects.name)).created == {each.key for each in manifests}
    body: Any = {"metadata": {"name": "held", "finalizers": ["example.com/held"]}}
    objects.core.create_namespaced_config_map(objects.name, body)
    objects.core.delete_namespace(objects.name)
    with pytest.raises(Unavailable, match="Terminating"):
        await adapter.apply(objects.name, manifests, repair=True)
    release = {"metadata": {"finalizers": None}}
    objects.core.patch_namespaced_config_map("held", objects.name, release)

    def is_gone() -> bool:
        found = objects.core.list_namespace(field_selector=f"metadata.name={objects.name}")
        return not found.items

    await eventually(is_gone)
    assert set(outcomes(await adapter.apply(objects.name, manifests)).values()) == {"applied"}
    assert objects.data("a") == {"x": "1"}


async def test_a_namespace_that_no_template_makes_has_to_exist(
    adapters: Adapters, prefix: str
) -> None:
    with pytest.raises(Unavailable, match=f"namespace {prefix}x does not exist, and no template"):
        await adapters.open().apply(f"{prefix}x", [config_map("a")])


async def test_objects_of_other_namespaces_are_refused_by_name(
    adapters: Adapters, objects: Objects, cluster: Cluster, prefix: str
) -> None:
    role = manifest("rbac.authorization.k8s.io/v1", "ClusterRole", f"{prefix}role", rules=[])
    other = f"{prefix}other"
    adapter = adapters.open()
    made = await adapter.apply(other, [namespace(other), role])
    assert set(outcomes(made).values()) == {"applied"}
    results = await adapter.apply(objects.name, [role, namespace(other), config_map("a", x="1")])
    assert [result.outcome for result in results] == ["failed", "failed", "applied"]
    assert f"belongs to namespace {other}" in results[0].message
    assert f"another namespace than its own, {objects.name}" in results[1].message
    await adapter.prune(other, [role.key])
    found = client.RbacAuthorizationV1Api(cluster.api).list_cluster_role().items
    assert role.name not in {each.metadata.name for each in found}


async def test_the_default_service_account_is_adopted_and_released(
    adapters: Adapters, cluster: Cluster, prefix: str
) -> None:
    objects = Objects(cluster, f"{prefix}new")
    account = manifest(
        "v1",
        "ServiceAccount",
        "default",
        annotations={"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"},
        imagePullSecrets=[{"name": "registry"}],
    )
    adapter = adapters.open()
    await adapter.apply(objects.name, [namespace(objects.name), account])
    read = objects.core.read_namespaced_service_account
    secrets = {"secrets": [{"name": "theirs"}]}
    objects.core.patch_namespaced_service_account("default", objects.name, secrets)
    await adapter.apply(objects.name, [namespace(objects.name), account], repair=True)
    found = read("default", objects.name)
    assert [each.name for each in found.secrets] == ["theirs"]
    assert [each.name for each in found.image_pull_secrets] == ["registry"]
    assert found.metadata.annotations["eks.amazonaws.com/role-arn"] == "arn:aws:iam::1:role/x"
    pruned = await adapter.prune(objects.name, [account.key])
    assert outcomes(pruned) == {"ServiceAccount/default": "released"}
    assert read("default", objects.name).metadata.uid == found.metadata.uid


async def test_a_kind_that_is_installed_later_is_found(
    adapters: Adapters,
    objects: Objects,
    cluster: Cluster,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery, "_REFRESH_SECONDS", 0.0)
    group = f"{prefix}example.com"
    widget = manifest(f"{group}/v1", "Widget", "w", spec={"size": 1})
    adapter = adapters.open()
    [result] = await adapter.apply(objects.name, [widget])
    assert result.message == f"the cluster serves no kind Widget in {group}/v1"
    definitions = client.ApiextensionsV1Api(cluster.api)
    definitions.create_custom_resource_definition(widgets(group))

    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await adapter.apply(objects.name, [widget]))[0].outcome == "failed":
            await asyncio.sleep(0.05)
    assert (await adapter.read(objects.name)).created == {widget.key}
    assert outcomes(await adapter.prune(objects.name, [widget.key])) == {"Widget/w": "pruned"}
    definitions.delete_custom_resource_definition(f"widgets.{group}")


async def test_a_kind_that_is_replaced_by_one_of_another_scope_is_found(
    adapters: Adapters,
    objects: Objects,
    cluster: Cluster,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery, "_REFRESH_SECONDS", 0.0)
    group = f"{prefix}example.com"
    widget = manifest(f"{group}/v1", "Widget", f"{prefix}w", spec={"size": 1})
    adapter = adapters.open()
    definitions = client.ApiextensionsV1Api(cluster.api)

    async def until(is_so: Callable[[Result], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_so((await adapter.apply(objects.name, [widget]))[0]):
                await asyncio.sleep(0.05)

    definitions.create_custom_resource_definition(widgets(group))
    await until(lambda result: result.outcome == "applied")
    definitions.delete_custom_resource_definition(f"widgets.{group}")
    await until(lambda result: result.message.startswith("the cluster serves no kind Widget"))
    definitions.create_custom_resource_definition(widgets(group, "Cluster"))
    await until(lambda result: result.outcome == "applied")
    definitions.delete_custom_resource_definition(f"widgets.{group}")


async def test_a_group_whose_server_is_away_fails_alone(
    adapters: Adapters, fault_proxy: FaultProxy, objects: Objects
) -> None:
    fault_proxy.add(faults.status(503, "ServiceUnavailable"), path="^/apis/example.com/v1")
    widget = manifest("example.com/v1", "Widget", "w")
    cluster = adapters.open(fault_proxy.kubeconfig)
    results = await cluster.apply(objects.name, [widget, config_map("a", x="1")])
    assert outcomes(results) == {"Widget/w": "failed", "ConfigMap/a": "applied"}
    assert "503" in results[0].message


def widgets(group: str, scope: str = "Namespaced") -> Any:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [version],
        },
    }


async def test_an_object_whose_creation_was_not_recorded_counts_as_created_if_it_is_all_ours(
    adapters: Adapters, fault_proxy: FaultProxy, objects: Objects
) -> None:
    manifests = [config_map("a", x="1"), config_map("b", x="1")]
    fault_proxy.add(faults.cut(), method="PATCH", path="/configmaps/a$")
    fault_proxy.add(faults.never, method="PATCH", path="/configmaps/b$")
    killed = adapters.open(fault_proxy.kubeconfig, seconds=0.5)
    for each in manifests:
        with pytest.raises(Unavailable):
            await killed.apply(objects.name, [each])
    objects.put("b", x="1")
    assert objects.data("a") == {"x": "1"}
    restarted = adapters.open()
    await restarted.apply(objects.name, manifests)
    found = (await restarted.read(objects.name)).entries
    assert {key.name: entry.created for key, entry in found.items()} == {"a": True, "b": False}


async def test_finalizers_do_not_block_a_prune_and_are_reported_afterwards(
    adapters: Adapters, objects: Objects
) -> None:
    cluster, held = adapters.open(), config_map("held", x="1")
    await cluster.apply(objects.name, [held, config_map("b", x="1")])
    finalizers: dict[str, Any] = {"metadata": {"finalizers": ["example.com/held"]}}
    objects.core.patch_namespaced_config_map("held", objects.name, finalizers)
    inventory = await cluster.read(objects.name)
    pruned = await cluster.prune(objects.name, inventory.entries)
    assert outcomes(pruned) == {"ConfigMap/held": "pruned", "ConfigMap/b": "pruned"}
    [still] = await cluster.prune(objects.name, inventory.entries)
    assert still.outcome == "failed"
    assert "example.com/held" in still.message
    [result] = await cluster.apply(objects.name, [held], repair=True)
    assert result.outcome == "failed"
    finalizers["metadata"]["finalizers"] = None
    objects.core.patch_namespaced_config_map("held", objects.name, finalizers)
    await cluster.prune(objects.name, inventory.entries)
    assert not (await cluster.read(objects.name)).entries


async def test_an_object_that_another_client_made_again_is_not_deleted(
    adapters: Adapters, objects: Objects
) -> None:
    cluster, made = adapters.open(), config_map("a", x="1")
    await cluster.apply(objects.name, [made])
    objects.core.delete_namespaced_config_map("a", objects.name)
    objects.put("a", x="theirs")
    pruned = await cluster.prune(objects.name, [made.key])
    assert outcomes(pruned) == {"ConfigMap/a": "released"}
    assert objects.data("a") == {"x": "theirs"}


async def test_a_pruned_namespace_goes_last(
    adapters: Adapters, cluster: Cluster, prefix: str
) -> None:
    name = f"{prefix}new"
    adapter, manifests = adapters.open(), [namespace(name), config_map("a", x="1")]
    await adapter.apply(name, manifests)
    pruned = await adapter.prune(name, [each.key for each in manifests])
    assert [str(result.key) for result in pruned] == ["ConfigMap/a", f"Namespace/{name}"]
    core = client.CoreV1Api(cluster.api)
    phases = [
        each.status.phase for each in core.list_namespace().items if each.metadata.name == name
    ]
    assert phases in ([], ["Terminating"])


async def test_missing_permissions_name_verbs_and_kinds(
    adapters: Adapters, cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    rules = [
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]},
    ]
    limited = adapters.open(cluster.user(f"{prefix}limited", rules, tmp_path / "limited"))
    kinds = [ApiKind("v1", "ConfigMap"), ApiKind("example.com/v1", "Widget")]
    assert await limited.missing_permissions(kinds) == (
        "the cluster serves no kind Widget in example.com/v1",
        "no permission to create, patch, delete configmaps in all namespaces",
    )
    name = f"{prefix}limited"
    [result] = await limited.apply(name, [config_map("a", x="1")])
    assert result.outcome == "failed"
    assert "cannot patch resource" in result.message


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (faults.never, r"did not answer within 0\.5 s"),
        (faults.cut(), "127.0.0.1"),
        (faults.status(500, "InternalError"), "test: InternalError"),
        (faults.status(503, "ServiceUnavailable"), "answered 503 Service Unavailable"),
    ],
)
async def test_an_api_server_that_fails_is_unavailable(
    adapters: Adapters, fault_proxy: FaultProxy, objects: Objects, fault: Any, message: str
) -> None:
    cluster = adapters.open(fault_proxy.kubeconfig, seconds=0.5)
    fault_proxy.add(fault)
    with pytest.raises(Unavailable, match=message):
        await cluster.apply(objects.name, [config_map("a", x="1")])
    fault_proxy.rules.clear()
    assert outcomes(await cluster.apply(objects.name, [config_map("a", x="1")])) == {
        "ConfigMap/a": "applied"
    }


async def test_a_kind_that_hangs_fails_alone(
    adapters: Adapters, fault_proxy: FaultProxy, objects: Objects
) -> None:
    async def late(_request: web.BaseRequest, _forward: faults.Forward) -> web.StreamResponse:
        """Respond as the API server does where an admission webhook hangs."""
        limit = float(_request.query["timeout"].removesuffix("s"))
        assert limit < 1.0
        await asyncio.sleep(limit)
        body = {"message": "Timeout: request did not complete", "reason": "Timeout", "code": 504}
        return web.json_response(body, status=504)

    cluster = adapters.open(fault_proxy.kubeconfig, seconds=1.0)
    fault_proxy.add(late, method="PATCH", path="/configmaps/a$")
    results = await cluster.apply(objects.name, [config_map("a", x="1"), config_map("b", x="1")])
    assert outcomes(results) == {"ConfigMap/a": "failed", "ConfigMap/b": "applied"}
    assert results[0].message.startswith("Timeout: ")


async def test_reads_end_with_the_first_that_fails(
    adapters: Adapters, fault_proxy: FaultProxy, objects: Objects
) -> None:
    manifests = [config_map(f"m{number}", x="1") for number in range(60)]
    cluster = adapters.open(fault_proxy.kubeconfig, seconds=0.5)
    rule = fault_proxy.add(faults.never, path="/configmaps/")
    with pytest.raises(Unavailable):
        await cluster.apply(objects.name, manifests)
    hits = rule.hits
    for _ in range(10):  # looks, longer than the deadline of a request
        await asyncio.sleep(0.1)
        assert rule.hits == hits < len(manifests)


async def test_the_delay_of_a_busy_api_server_is_kept(
    adapters: Adapters, fault_proxy: FaultProxy, objects: Objects
) -> None:
    fault_proxy.add(faults.too_many_requests(7))
    with pytest.raises(Unavailable) as caught:
        await adapters.open(fault_proxy.kubeconfig).read(objects.name)
    assert caught.value.delay_seconds == 7


async def test_a_certificate_of_another_issuer_is_named(
    adapters: Adapters, fault_proxy: FaultProxy, objects: Objects
) -> None:
    cluster = adapters.open(fault_proxy.kubeconfig)
    await cluster.read(objects.name)
    fault_proxy.present(trustme.CA().issue_cert("127.0.0.1"))
    fault_proxy.disconnect()
    with pytest.raises(
        Unavailable, match=r"certificate of https://127\.0\.0\.1:.* is not accepted"
    ):
        await cluster.read(objects.name)


async def test_a_wrong_token_is_refused_and_read_again(
    adapters: Adapters, kubeconfig: Path, objects: Objects, tmp_path: Path
) -> None:
    wrong = tmp_path / "kubeconfig"
    text = kubeconfig.read_text()
    token = kubeconfigs.read(kubeconfig)[2]
    wrong.write_text(text.replace(token, "wrong"))
    cluster = adapters.open(wrong)
    with pytest.raises(Rejected, match="Unauthorized"):
        await cluster.read(objects.name)
    wrong.write_text(text)
    assert not (await cluster.read(objects.name)).entries


async def test_a_namespace_whose_creator_was_killed_at_once_counts_as_created(
    adapters: Adapters, fault_proxy: FaultProxy, prefix: str
) -> None:
    name = f"{prefix}new"
    fault_proxy.add(faults.cut(), method="PATCH", path=f"/namespaces/{name}$")
    with pytest.raises(Unavailable):
        await adapters.open(fault_proxy.kubeconfig).apply(name, [namespace(name)])
    restarted = adapters.open()
    assert (await restarted.read(name)).created == {namespace(name).key}
    await restarted.apply(name, [namespace(name), config_map("a", x="1")])
    entries = (await restarted.read(name)).entries
    assert all(entry.created and entry.uid for entry in entries.values())


async def test_a_namespace_that_existed_is_adopted_and_keeps_its_labels(
    adapters: Adapters, objects: Objects
) -> None:
    labels = {"metadata": {"labels": {"team": "theirs"}}}
    objects.core.patch_namespace(objects.name, labels)
    cluster = adapters.open()
    await cluster.apply(objects.name, [namespace(objects.name)])
    assert (await cluster.read(objects.name)).adopted == {namespace(objects.name).key}
    pruned = await cluster.prune(objects.name, [namespace(objects.name).key])
    assert [result.outcome for result in pruned] == ["released"]
    found = objects.core.read_namespace(objects.name)
    assert found.metadata.labels["team"] == "theirs"
    assert not {name for name in found.metadata.labels if name.startswith("trimtab.io/")}
    assert not found.metadata.annotations


async def test_a_cancelled_call_ends_at_once_and_its_request_is_not_cut_off(
    adapters: Adapters, fault_proxy: FaultProxy, objects: Objects
) -> None:
    ended: list[str] = []

    async def slow(request: web.BaseRequest, forward: faults.Forward) -> web.StreamResponse:
        try:
            response = await faults.slow(0.5)(request, forward)
        except asyncio.CancelledError:
            ended.append("cut off")
            raise
        ended.append("answered")
        return response

    cluster = adapters.open(fault_proxy.kubeconfig)
    rule = fault_proxy.add(slow, method="PATCH", path="/configmaps/a$", times=1)
    early = asyncio.create_task(cluster.apply(objects.name, [config_map("a", x="early")]))
    await eventually(lambda: rule.hits > 0)
    early.cancel()
    await asyncio.wait([early])
    assert not ended
    await cluster.apply(objects.name, [config_map("a", x="late")])
    assert ended == ["answered"]
    assert objects.data("a") == {"x": "late"}


async def test_a_pod_uses_its_service_account_whose_token_is_rotated(
    kubeconfig: Path, objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, authority, token = kubeconfigs.read(kubeconfig)
    server, files = URL(url), {"token": b"expired", "ca.crt": authority}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(server.host))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    cluster = KubernetesCluster(InCluster())
    with pytest.raises(Rejected, match="Unauthorized"):
        await cluster.read(objects.name)
    (tmp_path / "token").write_text(token)
    assert not (await cluster.read(objects.name)).entries
    await cluster.close()
