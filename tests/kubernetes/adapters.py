"""Clusters of clusterres that tests use, and the objects that they apply."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trimtab.templates.manifests import Manifest
from trimtab_clusterres.clusters.kubernetes.access import Kubeconfig
from trimtab_clusterres.clusters.kubernetes.cluster import KubernetesCluster
from trimtab_clusterres.clusters.port import Result


class Adapters:
    """Opens clusters of clusterres, as processes that are started one after the other have them."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig
        self._opened: list[KubernetesCluster] = []

    def open(self, kubeconfig: Path | None = None, seconds: float = 10.0) -> KubernetesCluster:
        access = Kubeconfig(kubeconfig or self._kubeconfig)
        self._opened.append(KubernetesCluster(access, request_timeout_seconds=seconds))
        return self._opened[-1]

    async def close(self) -> None:
        for opened in self._opened:
            await opened.close()


def manifest(api_version: str, kind: str, name: str, **fields: Any) -> Manifest:
    """Return an object; ``annotations`` are those of its metadata."""
    metadata: dict[str, Any] = {"name": name}
    if annotations := fields.pop("annotations", None):
        metadata["annotations"] = annotations
    body = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}
    return Manifest(api_version.rpartition("/")[0], kind, name, body)


def namespace(name: str) -> Manifest:
    return manifest("v1", "Namespace", name)


def config_map(name: str, *, annotations: dict[str, str] | None = None, **data: str) -> Manifest:
    return manifest("v1", "ConfigMap", name, annotations=annotations, data=data)


def outcomes(results: Iterable[Result]) -> dict[str, str]:
    """Return the outcome of each object by its key."""
    return {str(result.key): result.outcome for result in results}
