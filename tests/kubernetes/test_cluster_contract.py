"""A Kubernetes cluster keeps the contract of every type of cluster."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from tests.integration.clusterres.cluster_contract import ChangesContract, ClusterContract
from tests.kubernetes import clusters, kubeconfigs
from tests.servers import free_port
from trimtab_clusterres.clusters.kubernetes.access import Kubeconfig
from trimtab_clusterres.clusters.kubernetes.cluster import KubernetesCluster
from trimtab_clusterres.clusters.kubernetes.objects import INVENTORY
from trimtab_clusterres.clusters.port import Cluster

EDITOR = "editor"


class TestKubernetesCluster(ClusterContract, ChangesContract):
    @pytest.fixture
    async def adapter(
        self, cluster: clusters.Cluster, prefix: str, tmp_path: Path
    ) -> AsyncIterator[Cluster]:
        self.kubeconfig, self.directory = cluster.kubeconfig, tmp_path
        self.core = client.CoreV1Api(cluster.api)
        self.namespace, self.later = f"{prefix}alpha", f"{prefix}beta"
        for namespace in (self.namespace, self.later):
            self.core.create_namespace({"metadata": {"name": namespace}})
        self.opened: list[Cluster] = []
        yield self.another()
        for opened in self.opened:
            await opened.close()

    def another(self, adapter: Cluster | None = None) -> Cluster:
        return self.open(self.kubeconfig)

    def open(self, kubeconfig: Path) -> Cluster:
        opened = KubernetesCluster(Kubeconfig(kubeconfig))
        self.opened.append(opened)
        return opened

    def objects(self, adapter: Cluster) -> dict[str, dict[str, str]]:
        found = self.core.list_namespaced_config_map(self.namespace).items
        return {
            one.metadata.name: one.data or {}
            for one in found
            if one.metadata.name != "kube-root-ca.crt"
        }

    def put(self, adapter: Cluster, name: str, *, namespace: str = "", **data: str) -> None:
        where, body = namespace or self.namespace, {"metadata": {"name": name}, "data": data}
        try:
            self.core.replace_namespaced_config_map(name, where, body, field_manager=EDITOR)
        except ApiException as error:
            if error.status != 404:
                raise
            self.core.create_namespaced_config_map(where, body, field_manager=EDITOR)

    def delete(self, adapter: Cluster, name: str) -> None:
        self.core.delete_namespaced_config_map(name, self.namespace)

    def lose_record(self, adapter: Cluster) -> None:
        annotations = {"metadata": {"annotations": {INVENTORY: "{"}}}
        self.core.patch_namespace(self.namespace, annotations)

    def unavailable(self, adapter: Cluster) -> Cluster:
        url = f"https://127.0.0.1:{free_port()}"
        kubeconfig = kubeconfigs.write(self.directory / "away", url, b"", "token")
        return self.open(kubeconfig)
