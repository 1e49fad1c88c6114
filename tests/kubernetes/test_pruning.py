"""The objects of an archived project are deleted after a confirmation, and nothing else is."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from kubernetes import client

from tests.kubernetes.adapters import Adapters, config_map, manifest, namespace
from tests.kubernetes.clusters import Cluster
from tests.servers import PATIENCE_SECONDS
from trimtab.errors import Unavailable
from trimtab.messages.events import PruneChanged
from trimtab.templates.manifests import Manifest
from trimtab_clusterres.clusters.kubernetes import objects
from trimtab_clusterres.clusters.kubernetes.cluster import KubernetesCluster
from trimtab_clusterres.pruning.policies import PrunePolicies
from trimtab_clusterres.pruning.pruner import Pruned, Pruner

ROLE_ARN = "eks.amazonaws.com/role-arn"


def rendered(name: str) -> Sequence[Manifest]:
    return [
        namespace(name),
        manifest("v1", "ServiceAccount", "default", annotations={ROLE_ARN: "arn:aws:iam::1:r"}),
        manifest("v1", "ResourceQuota", "quota", spec={"hard": {"pods": "5"}}),
        config_map("a", x="1"),
        config_map("b", x="1"),
    ]


def pruner(cluster: KubernetesCluster, **kinds: str) -> Pruner:
    policies = PrunePolicies.model_validate({"default": "confirm", "kinds": kinds})
    return Pruner("c", cluster, policies, PATIENCE_SECONDS)


def found(pruned: Pruned) -> dict[str, str]:
    return {detail.object: detail.outcome for detail in pruned.details}


def confirmation(name: str, listed: Pruned) -> PruneChanged:
    objects = tuple(detail.identity for detail in listed.details if detail.identity)
    return PruneChanged(cluster="c", namespace=name, digest=listed.digest, objects=objects)


async def archived(
    pruner: Pruner, name: str, confirmed: PruneChanged | None = None, revision: int = 1
) -> Pruned:
    """Prune the namespace of an archived project until nothing is being deleted any longer."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            pruned = await pruner.prune(name, (), "archived", confirmed, f"revision {revision}")
            if not pruned.error:
                return pruned
            await asyncio.sleep(0.1)


async def applied(cluster: KubernetesCluster, name: str) -> None:
    """Apply everything until it succeeds, as a worker does."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(Unavailable):
                results = await cluster.apply(name, rendered(name), repair=True)
                if all(result.outcome in ("applied", "unchanged") for result in results):
                    return
            await asyncio.sleep(0.1)


async def test_only_confirmed_objects_that_are_still_ours_are_deleted(
    adapters: Adapters, cluster: Cluster, prefix: str
) -> None:
    name, adapter, core = f"{prefix}kept", adapters.open(), client.CoreV1Api(cluster.api)
    await applied(adapter, name)
    forged: dict[str, Any] = {"name": "forged", "labels": {objects.MANAGED: "true"}}
    forged["annotations"] = {objects.INVENTORY: '{"objects": []}', "trimtab.io/namespace": name}
    core.create_namespaced_config_map(
        name, {"metadata": forged}, field_manager="trimtab-clusterres"
    )
    keeping = pruner(adapter, Namespace="orphan")
    waiting = await archived(keeping, name)
    assert found(waiting) == {
        "ServiceAccount/default": "released",
        "ConfigMap/a": "unconfirmed",
        "ConfigMap/b": "unconfirmed",
        "ResourceQuota/quota": "unconfirmed",
        f"Namespace/{name}": "kept",
    }
    core.delete_namespaced_config_map("b", name)
    core.create_namespaced_config_map(name, {"metadata": {"name": "b"}, "data": {"of": "tenant"}})
    assert found(await archived(keeping, name, confirmation(name, waiting), 2))["ConfigMap/a"] == (
        "unconfirmed"  # it was archived another time
    )
    pruned = await archived(keeping, name, confirmation(name, waiting))
    assert found(pruned) == {
        "ConfigMap/a": "pruned",
        "ConfigMap/b": "released",
        "ResourceQuota/quota": "pruned",
        f"Namespace/{name}": "kept",
    }
    left = {one.metadata.name: one.data for one in core.list_namespaced_config_map(name).items}
    assert left.keys() == {"forged", "b", "kube-root-ca.crt"}
    assert left["b"] == {"of": "tenant"}
    account = core.read_namespaced_service_account("default", name)
    assert account.metadata.annotations == {ROLE_ARN: "arn:aws:iam::1:r"}


async def test_an_archived_namespace_is_deleted_and_restored(
    adapters: Adapters, cluster: Cluster, prefix: str
) -> None:
    name, adapter, core = f"{prefix}gone", adapters.open(), client.CoreV1Api(cluster.api)
    await applied(adapter, name)
    uid = core.read_namespace(name).metadata.uid
    deleting = pruner(adapter)
    waiting = await archived(deleting, name)
    assert found(waiting)[f"Namespace/{name}"] == "unconfirmed"
    assert any(f"Namespace/{name} {uid}" == detail.identity for detail in waiting.details)
    confirmed = confirmation(name, waiting)
    # Another process, that was started meanwhile, goes on with the rest of the list.
    first = await deleting.prune(name, (), "archived", confirmed, "revision 1")
    assert found(first)[f"Namespace/{name}"] == "pruned"
    # The namespace may end between the last deletion and the look that follows it.
    last = found(await archived(pruner(adapters.open()), name, confirmed))
    assert last in ({}, {f"Namespace/{name}": "pruned"})
    assert name not in {one.metadata.name for one in core.list_namespace().items}
    await applied(adapter, name)
    restored = core.read_namespace(name)
    assert restored.metadata.uid != uid
    assert core.read_namespaced_config_map("b", name).data == {"x": "1"}
    # The confirmation is for the objects that are gone.
    again = await archived(deleting, name, confirmed)
    assert found(again)[f"Namespace/{name}"] == "unconfirmed"
    assert again.digest != waiting.digest


async def test_a_project_that_is_restored_while_its_namespace_is_deleted_gets_everything_back(
    adapters: Adapters, cluster: Cluster, prefix: str
) -> None:
    name, adapter, core = f"{prefix}back", adapters.open(), client.CoreV1Api(cluster.api)
    await applied(adapter, name)
    held = {"name": "last", "finalizers": ["example.com/wait"]}
    core.create_namespaced_config_map(name, {"metadata": held})
    deleting = pruner(adapter)
    confirmed = confirmation(name, await archived(deleting, name))
    going = await deleting.prune(name, (), "archived", confirmed, "revision 1")
    assert "deleted" in going.error
    with pytest.raises(Unavailable, match="is being deleted"):
        await adapter.apply(name, rendered(name), repair=True)
    core.patch_namespaced_config_map("last", name, {"metadata": {"finalizers": None}})
    await applied(adapter, name)
    assert core.read_namespace(name).status.phase == "Active"
    assert core.read_namespaced_resource_quota("quota", name).spec.hard == {"pods": "5"}


async def test_an_inventory_that_a_tenant_has_forged_deletes_nothing_of_others(
    adapters: Adapters, cluster: Cluster, prefix: str
) -> None:
    name, adapter, core = f"{prefix}forged", adapters.open(), client.CoreV1Api(cluster.api)
    await applied(adapter, name)
    other = core.create_namespace({"metadata": {"name": f"{prefix}other"}}).metadata
    own = core.read_namespace(name).metadata
    record = json.loads(own.annotations[objects.INVENTORY])
    record["objects"] += [
        {"kind": "Namespace", "name": other.name, "created": True, "uid": other.uid},
        # Its path is that of the namespace itself.
        {"kind": "Secret", "name": "..", "created": True, "uid": own.uid},
    ]
    annotations = {objects.INVENTORY: json.dumps(record)}
    core.patch_namespace(name, {"metadata": {"annotations": annotations}})
    keeping = pruner(adapter, ResourceQuota="orphan", Secret="prune")
    waiting = await archived(keeping, name)
    pruned = await archived(keeping, name, confirmation(name, waiting))
    assert core.read_namespace(other.name).metadata.deletion_timestamp is None
    assert core.read_namespace(name).metadata.deletion_timestamp is None
    assert found(pruned) == {
        "ConfigMap/a": "pruned",
        "ConfigMap/b": "pruned",
        "ResourceQuota/quota": "kept",
        f"Namespace/{name}": "kept",
    }
