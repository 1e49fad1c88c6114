"""A real API server accepts the pods that are built, with its admission of quotas and policies.

There are no nodes, so each pod is created by a dry run of the server, which runs all admission.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kubernetes import client

from tests.golden_pods import CASES, Case
from tests.kubernetes.clusters import Cluster
from tests.kubernetes.test_control_plane import eventually
from tests.unit.propeller.building import record

Pod = dict[str, Any]
GPU = "nvidia.com/gpu"
HARD = {
    "requests.cpu": "100",
    "requests.memory": "500Gi",
    "limits.cpu": "200",
    "limits.memory": "500Gi",
    f"requests.{GPU}": "16",
}
"""With this quota, every container has to have requests and limits of cpu and memory."""
RANGE = {
    "type": "Container",
    "defaultRequest": {"cpu": "10m", "memory": "16Mi"},
    "default": {"cpu": "16", "memory": "64Gi"},
    "max": {"cpu": "32", "memory": "128Gi"},
}
INSIDE = {
    "defaults": {"cpu": "1", "memory": "1Gi"},
    "limits": {"cpu": "32", "memory": "128Gi"},
    "mirror_limits_request": True,
}
"""The ``task_resource`` that fits the quota and the range."""


class Namespaces:
    """Namespaces with one purpose each, and what the pods name in them."""

    def __init__(self, cluster: Cluster, prefix: str) -> None:
        self.limited = f"{prefix}limited"
        """The one with a quota and a range."""
        self.quota = f"{prefix}quota"
        """The one with the quota alone, which fills nothing in."""
        self.baseline = f"{prefix}baseline"
        """The one that enforces the baseline of Kubernetes' Pod Security Standards."""
        self._core = client.CoreV1Api(cluster.api)

    def create(self, pods: Mapping[str, Pod]) -> None:
        """Create them; return when the controllers have completed them."""
        enforced = {"pod-security.kubernetes.io/enforce": "baseline"}
        for name in (self.limited, self.quota, self.baseline):
            labels = enforced if name == self.baseline else {}
            self._core.create_namespace({"metadata": {"name": name, "labels": labels}})
        for name in (self.limited, self.quota):
            quota = {"metadata": {"name": "quota"}, "spec": {"hard": HARD}}
            self._core.create_namespaced_resource_quota(name, quota)
        limits = {"metadata": {"name": "range"}, "spec": {"limits": [RANGE]}}
        self._core.create_namespaced_limit_range(self.limited, limits)
        accounts = {pod["spec"].get("serviceAccountName", "default") for pod in pods.values()}
        for name in (self.limited, self.quota, self.baseline):
            for account in accounts - {"default"}:
                self._core.create_namespaced_service_account(name, {"metadata": {"name": account}})
            eventually(lambda name=name: self._has_account(name))
        for name in (self.limited, self.quota):
            eventually(lambda name=name: self._has_status(name))

    def _has_account(self, namespace: str) -> bool:
        listed = self._core.list_namespaced_service_account(namespace).items
        return "default" in {account.metadata.name for account in listed}

    def _has_status(self, namespace: str) -> bool:
        quota = self._core.read_namespaced_resource_quota("quota", namespace)
        return bool(quota.status.hard) and bool(quota.status.used)

    def refusal(self, namespace: str, pod: Pod) -> str:
        """Return why the server refuses the pod, also for a field that it does not know."""
        body = {**pod, "metadata": {**pod["metadata"], "namespace": namespace}}
        # The typed methods of the client drop or reject such a field before the server sees it.
        request = self._core.api_client.param_serialize(
            "POST",
            f"/api/v1/namespaces/{namespace}/pods",
            query_params=[("dryRun", "All"), ("fieldValidation", "Strict")],
            header_params={"Content-Type": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        response = self._core.api_client.call_api(*request)
        status = json.loads(response.read())
        return "" if response.status == 201 else f"{status['reason']}: {status['message']}"

    def refusals(self, namespace: str, pods: Mapping[str, Pod]) -> dict[str, str]:
        """Return the refusals of those that are refused, by name."""
        with ThreadPoolExecutor(8) as threads:
            found = threads.map(lambda pod: self.refusal(namespace, pod), pods.values())
            return {name: why for name, why in zip(pods, found, strict=True) if why}


@pytest.fixture(scope="module")
def pods() -> Mapping[str, Pod]:
    return {name: case.pod() for name, case in CASES.items()}


@pytest.fixture(scope="module")
def namespaces(kubeconfig: Path, pods: Mapping[str, Pod]) -> Iterator[Namespaces]:
    prefix = f"t{uuid4().hex[:8]}-"
    classes = {pod["spec"].get("priorityClassName") for pod in pods.values()} - {None}
    with closing(Cluster(kubeconfig)) as cluster:
        scheduling = client.SchedulingV1Api(cluster.api)
        for name in classes:
            scheduling.create_priority_class({"metadata": {"name": name}, "value": 10})
        namespaces = Namespaces(cluster, prefix)
        namespaces.create(pods)
        with_class = [pod for pod in pods.values() if pod["spec"].get("priorityClassName")]
        # Admission finds a class a moment after its creation.
        for pod in with_class:
            eventually(lambda pod=pod: not namespaces.refusal(namespaces.limited, pod))
        yield namespaces
        cluster.delete_namespaces(prefix)
        for name in classes:
            scheduling.delete_priority_class(name)


def test_every_golden_pod_is_accepted_under_a_quota_and_a_range(
    namespaces: Namespaces, pods: Mapping[str, Pod]
) -> None:
    assert namespaces.refusals(namespaces.limited, pods) == {}


def test_every_golden_pod_is_within_the_baseline_of_pod_security(
    namespaces: Namespaces, pods: Mapping[str, Pod]
) -> None:
    assert namespaces.refusals(namespaces.baseline, pods) == {}


def pod_of(**config: Any) -> Pod:
    return Case(config=config, settings=(record("task_resource", INSIDE),)).pod()


@pytest.mark.parametrize("amounts", [{}, {"cpu": "32", "memory": "128Gi"}, {"gpu": "16"}])
def test_pods_that_are_resolved_inside_task_resource_need_no_defaults_of_the_namespace(
    namespaces: Namespaces, amounts: dict[str, str]
) -> None:
    config = {"container_image": "train:v1", "resources": {"requests": amounts}}
    pod = pod_of(**config)
    assert namespaces.refusal(namespaces.quota, pod) == ""
    without = Case(config={"container_image": "train:v1"}).pod()
    assert "must specify limits.cpu" in namespaces.refusal(namespaces.quota, without)


@pytest.mark.parametrize(
    ("amounts", "namespace", "why"),
    [
        ({"cpu": "33"}, "limited", "maximum cpu usage per Container is 32"),
        ({"memory": "600Gi"}, "quota", "exceeded quota: quota"),
        ({"gpu": "17"}, "quota", f"exceeded quota: quota, requested: requests.{GPU}=17"),
    ],
)
def test_a_pod_over_a_limit_of_the_namespace_is_forbidden(
    namespaces: Namespaces, amounts: dict[str, str], namespace: str, why: str
) -> None:
    both = {"cpu": "1", "memory": "1Gi", **amounts}
    config = {"container_image": "train:v1", "resources": {"requests": both, "limits": both}}
    refusal = namespaces.refusal(getattr(namespaces, namespace), Case(config=config).pod())
    assert refusal.startswith("Forbidden: ")
    assert why in refusal


def privileged(pod: Pod) -> None:
    pod["spec"]["containers"][0]["securityContext"] = {"privileged": True}


def on_host_network(pod: Pod) -> None:
    pod["spec"]["hostNetwork"] = True


def with_host_path(pod: Pod) -> None:
    pod["spec"]["volumes"] = [{"name": "host", "hostPath": {"path": "/"}}]


@pytest.mark.parametrize("change", [privileged, on_host_network, with_host_path])
def test_what_pod_policies_deny_by_default_is_outside_the_baseline(
    namespaces: Namespaces, change: Callable[[Pod], None]
) -> None:
    pod = pod_of(container_image="train:v1")
    assert namespaces.refusal(namespaces.baseline, pod) == ""
    change(pod)
    assert 'violates PodSecurity "baseline' in namespaces.refusal(namespaces.baseline, pod)


def test_a_field_that_kubernetes_does_not_know_is_refused(namespaces: Namespaces) -> None:
    pod = pod_of(container_image="train:v1")
    pod["spec"]["containers"][0]["comand"] = ["train"]
    assert 'unknown field "spec.containers[0].comand"' in namespaces.refusal(
        namespaces.limited, pod
    )
