"""A cluster as tests use it: the control plane of the tests, or any other."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config

from tests.kubernetes import kubeconfigs

EVERYTHING = (
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
)
"""The permissions of a cluster's administrator."""


class Cluster:
    """A cluster and, by its configuration, a client that may do everything."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.api = config.new_client_from_config(str(kubeconfig))
        """The synchronous client of the test itself."""

    def close(self) -> None:
        self.api.rest_client.pool_manager.clear()

    def user(self, name: str, rules: Sequence[dict[str, Any]], path: Path) -> Path:
        """Write and return the configuration of a user that has only these permissions.

        ``rules`` are those of a ClusterRole. The user is a service account in a namespace ``name``,
        and is gone with that.
        """
        core, rbac = client.CoreV1Api(self.api), client.RbacAuthorizationV1Api(self.api)
        namespace = core.create_namespace({"metadata": {"name": name}})
        owner = {"apiVersion": "v1", "kind": "Namespace", "name": name}
        metadata = {
            "name": name,
            "ownerReferences": [owner | {"uid": namespace.metadata.uid}],
        }
        core.create_namespaced_service_account(name, {"metadata": {"name": "user"}})
        rbac.create_cluster_role({"metadata": metadata, "rules": list(rules)})
        subject = {"kind": "ServiceAccount", "namespace": name, "name": "user"}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        rbac.create_cluster_role_binding(
            {"metadata": metadata, "subjects": [subject], "roleRef": role}
        )
        request = {"spec": {"expirationSeconds": 24 * 3600, "audiences": []}}
        token = core.create_namespaced_service_account_token("user", name, request)
        return self._with_token(token.status.token, path)

    def _with_token(self, token: str, path: Path) -> Path:
        """Write and return this configuration with another user."""
        given = yaml.safe_load(self.kubeconfig.read_text())
        contexts = {each["name"]: each["context"] for each in given["contexts"]}
        current = contexts[given["current-context"]]["cluster"]
        [cluster] = [each["cluster"] for each in given["clusters"] if each["name"] == current]
        if "certificate-authority" in cluster:
            authority = Path(self.kubeconfig.parent, cluster["certificate-authority"]).read_bytes()
        else:
            authority = base64.b64decode(cluster["certificate-authority-data"])
        return kubeconfigs.write(path, cluster["server"], authority, token)

    def delete_namespaces(self, prefix: str) -> None:
        """Request the deletion of all namespaces whose names begin with the prefix."""
        core = client.CoreV1Api(self.api)
        for namespace in core.list_namespace().items:
            if namespace.metadata.name.startswith(prefix):
                core.delete_namespace(namespace.metadata.name)
