"""The clusters of the tests themselves."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from tests.kubernetes.clusters import Cluster
from tests.kubernetes.control_plane import ControlPlane
from tests.servers import PATIENCE_SECONDS


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def names(api: client.ApiClient, prefix: str) -> list[str]:
    found = [each.metadata.name for each in client.CoreV1Api(api).list_namespace().items]
    return [name for name in found if name.startswith(prefix)]


def test_a_quota_gets_its_status_and_a_namespace_its_service_account(
    cluster: Cluster, prefix: str
) -> None:
    core, name = client.CoreV1Api(cluster.api), f"{prefix}quota"
    core.create_namespace({"metadata": {"name": name}})
    quota = {"metadata": {"name": "limits"}, "spec": {"hard": {"configmaps": "5"}}}
    core.create_namespaced_resource_quota(name, quota)
    eventually(lambda: bool(core.read_namespaced_resource_quota("limits", name).status.used))
    eventually(lambda: bool(core.list_namespaced_service_account(name).items))


def test_a_deleted_namespace_is_gone_after_a_while(cluster: Cluster, prefix: str) -> None:
    core, name = client.CoreV1Api(cluster.api), f"{prefix}deleted"
    core.create_namespace({"metadata": {"name": name}})
    core.create_namespaced_config_map(name, {"metadata": {"name": "content"}})
    core.delete_namespace(name)
    eventually(lambda: not names(cluster.api, prefix))


def test_a_user_has_the_permissions_of_its_rules_only(
    cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    rules = [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list"]}]
    kubeconfig = cluster.user(f"{prefix}reader", rules, tmp_path / "reader")
    with config.new_client_from_config(str(kubeconfig)) as api:
        assert names(api, prefix) == [f"{prefix}reader"]
        with pytest.raises(ApiException, match="cannot create resource"):
            client.CoreV1Api(api).create_namespace({"metadata": {"name": f"{prefix}x"}})


def test_clusters_with_one_etcd_share_no_objects(
    cluster: Cluster, prefix: str, new_control_plane: Callable[[], ControlPlane]
) -> None:
    other = Cluster(new_control_plane().kubeconfig)
    client.CoreV1Api(other.api).create_namespace({"metadata": {"name": f"{prefix}other"}})
    assert names(other.api, prefix) == [f"{prefix}other"]
    assert names(cluster.api, prefix) == []
    other.close()


def test_a_killed_api_server_starts_again_with_its_objects_and_certificate(
    new_control_plane: Callable[[], ControlPlane],
) -> None:
    plane = new_control_plane()
    cluster = Cluster(plane.kubeconfig)
    client.CoreV1Api(cluster.api).create_namespace({"metadata": {"name": "kept"}})
    plane.api_server.kill()
    plane.api_server.start()
    assert names(cluster.api, "kept") == ["kept"]
    plane.api_server.pause()
    with pytest.raises(Exception, match="timed out"):
        client.CoreV1Api(cluster.api).list_namespace(_request_timeout=1)
    plane.api_server.resume()
    assert names(cluster.api, "kept") == ["kept"]
    cluster.close()
