"""Statuses and differences of namespaces have the messages of the API server, and no secrets."""

import base64
from collections.abc import Sequence

from kubernetes import client

from tests.kubernetes.adapters import Adapters, config_map, manifest, namespace
from tests.kubernetes.clusters import Cluster
from trimtab.api.namespaces import NamespaceDifferenceBody
from trimtab.levels import Scope
from trimtab.messages.events import NamespaceStatus
from trimtab.templates.manifests import Manifest
from trimtab_clusterres import statuses
from trimtab_clusterres.clusters.kubernetes.cluster import KubernetesCluster
from trimtab_clusterres.replies.differences import reply_body
from trimtab_clusterres.statuses import Attempt

PASSWORD = "hunter2 the second"  # the value that nothing may repeat


async def applied(
    cluster: KubernetesCluster, name: str, manifests: Sequence[Manifest]
) -> NamespaceStatus:
    """Apply the objects, and return the status that is published."""
    results = await cluster.apply(name, manifests, repair=True)
    error = statuses.first_failure(results)
    inventory = await cluster.read(name)
    attempt = Attempt(1, manifests, results, error, inventory=inventory)
    presented = statuses.presentable(attempt)
    return statuses.status("c", name, Scope("staging", "shop"), presented)


async def test_the_status_has_the_reason_of_the_api_server_for_each_object(
    adapters: Adapters, cluster: Cluster, prefix: str
) -> None:
    name = f"{prefix}failing"
    made = [namespace(name), config_map("a", x="1")]
    adapter = adapters.open()
    assert (await applied(adapter, name, made)).usable
    core = client.CoreV1Api(cluster.api)
    body = {"data": {"y": "2"}}
    core.patch_namespaced_config_map("a", name, body, field_manager="kubectl-edit")
    status = await applied(
        adapter,
        name,
        [
            namespace(name),
            config_map("a", x="1", y="1"),
            manifest("v1", "ResourceQuota", "quota", spec={"hard": {"pods": "-1"}}),
            manifest("v1", "Secret", "bad", data={"password": PASSWORD}),
        ],
    )
    _, conflict, quota, secret = status.details
    assert (conflict.outcome, quota.outcome, secret.outcome) == ("conflicted", "failed", "failed")
    assert "kubectl-edit" in conflict.message
    assert ".data.y" in conflict.message
    assert "must be greater than or equal to 0" in quota.message
    assert "base64" in secret.message
    assert status.counts == {"unchanged": 1, "conflicted": 1, "failed": 2}
    assert status.error.endswith("(and 2 more objects)")
    assert PASSWORD not in status.model_dump_json()


async def test_a_namespace_is_usable_after_a_restart_if_all_was_applied(
    adapters: Adapters, cluster: Cluster, prefix: str
) -> None:
    name = f"{prefix}usable"
    quota = manifest("v1", "ResourceQuota", "quota", spec={"hard": {"pods": "1"}})
    await applied(adapters.open(), name, [namespace(name), quota])
    wrong = manifest("v1", "ResourceQuota", "quota", spec={"hard": {"pods": "-1"}})
    status = await applied(adapters.open(), name, [namespace(name), wrong])
    assert (status.state, status.usable) == ("failed", True)
    other = manifest("v1", "ResourceQuota", "never-applied", spec={"hard": {"pods": "-1"}})
    status = await applied(adapters.open(), name, [namespace(name), other])
    assert not status.usable


async def test_the_difference_shows_which_values_of_a_secret_differ_and_none_of_them(
    adapters: Adapters, cluster: Cluster, prefix: str
) -> None:
    name = f"{prefix}differing"
    adapter = adapters.open()
    secret = manifest("v1", "Secret", "s", stringData={"password": PASSWORD, "user": "lovelace"})
    await adapter.apply(name, [namespace(name), secret, config_map("a", x="1")])
    core = client.CoreV1Api(cluster.api)
    body = {
        "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": PASSWORD}},
        "stringData": {"password": "changed outside"},
    }
    core.patch_namespaced_secret("s", name, body, field_manager="kubectl-edit")
    manifests = [namespace(name), secret, config_map("a", x="2"), config_map("b", x="3")]
    reply = reply_body("c", name, 1, await adapter.compare(name, manifests))
    for value in (PASSWORD, "changed outside", "lovelace"):
        assert value not in reply.decode()
        assert base64.b64encode(value.encode()).decode() not in reply.decode()
    found = {
        difference.object: difference
        for difference in NamespaceDifferenceBody.model_validate_json(reply).objects
    }
    assert set(found) == {"Secret/s", "ConfigMap/a", "ConfigMap/b"}
    shown = found["Secret/s"]
    assert shown.live is not None
    assert shown.desired is not None
    live, desired = shown.live["data"], shown.desired["data"]
    assert isinstance(live, dict)
    assert isinstance(desired, dict)
    assert live["password"] != desired["password"]
    assert live["user"] == desired["user"]
    assert (found["ConfigMap/a"].live or {})["data"] == {"x": "1"}
    assert found["ConfigMap/b"].live is None
