"""Whether the namespace that an execution needs can be used, and if not, why."""

from collections.abc import Mapping
from typing import Any, Literal

import pytest

from tests.unit.propeller.building import record, request, settings
from trimtab.messages.events import ClusterChanged, Event, NamespaceStatus
from trimtab.runtime.namespace_statuses import NamespaceStatuses
from trimtab.settings.namespaces import DEFAULT
from trimtab.testing import AT
from trimtab_propeller.namespaces import EVERY_CLUSTER, RequiredNamespaces, problem

EAST = ClusterChanged(name="east")
NOT_READY = "namespace shop-dev on cluster east is not ready: "


def status(
    state: Literal["ready", "failed"], *, usable: bool = False, error: str = ""
) -> NamespaceStatus:
    return NamespaceStatus(
        cluster="east",
        namespace="shop-dev",
        project="shop",
        domain="dev",
        revision=1,
        state=state,
        usable=usable,
        error=error,
        at=AT,
    )


@pytest.mark.parametrize(
    "known",
    [
        status("ready", usable=True),
        status("failed", usable=True, error="a later change fails"),
        status("ready"),  # of a release that does not know `usable`
    ],
)
def test_a_namespace_that_was_applied_once_can_be_used(known: NamespaceStatus) -> None:
    assert problem(EAST, "shop-dev", known) == ""


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (status("failed", error="ResourceQuota/q: no"), "ResourceQuota/q: no"),
        (status("failed", error="x" * 9_000), "x" * 500),
        (status("failed"), "its state is failed"),
        (None, "clusterres has not published its status"),
    ],
)
def test_the_problem_is_the_error_of_the_status(known: NamespaceStatus | None, why: str) -> None:
    assert problem(EAST, "shop-dev", known) == NOT_READY + why


def test_a_disabled_cluster_has_no_new_namespaces() -> None:
    disabled = EAST.model_copy(update={"enabled": False})
    known = status("failed", error="old")
    assert problem(disabled, "shop-dev", known) == NOT_READY + "the cluster is disabled"


class KnownStatuses(NamespaceStatuses):
    """The same status of every namespace of a cluster."""

    def __init__(self, by_cluster: Mapping[str, NamespaceStatus]) -> None:
        super().__init__()
        self._by_cluster = by_cluster

    def get(self, cluster: str, namespace: str) -> NamespaceStatus | None:
        return self._by_cluster.get(cluster)


def required(clusters: str, *events: Event, usable: tuple[str, ...] = ()) -> RequiredNamespaces:
    """Return the namespaces that executions need, of which those on ``usable`` can be used."""
    after = settings(*events)
    known = {
        name: status("failed", usable=name in usable, error=f"{name} is full")
        for name in after.clusters
    }
    return RequiredNamespaces(clusters, DEFAULT, lambda: after, KnownStatuses(known))


GPU = ClusterChanged(name="gpu", labels=("gpu",))
CPU = ClusterChanged(name="cpu", labels=("cpu",))
ON_GPU = record("execution_cluster_label", {"value": "gpu"})


def not_ready(cluster: str) -> str:
    return f"namespace shop-development on cluster {cluster} is not ready: {cluster} is full"


@pytest.mark.parametrize(
    ("clusters", "events"), [("", (GPU,)), ("other", (GPU,)), ("*", ()), ("gpu", ())]
)
def test_no_namespace_is_needed_on_a_cluster_that_is_not_declared(
    clusters: str, events: tuple[Event, ...]
) -> None:
    needed = required(clusters, *events)
    assert (needed.problem("shop-development"), needed.problem_of(request())) == ("", "")
    assert needed.problems(request()) == {}


def test_of_one_cluster_the_namespace_is_needed_whatever_the_label() -> None:
    needed = required("cpu", GPU, CPU, ON_GPU, usable=("gpu",))
    assert needed.problem_of(request()) == not_ready("cpu")
    assert needed.problems(request()) == {"cpu": not_ready("cpu")}
    assert required("cpu", GPU, CPU, ON_GPU, usable=("cpu",)).problem_of(request()) == ""


def test_of_every_cluster_one_that_may_be_selected_is_enough() -> None:
    second = ClusterChanged(name="second", labels=("gpu",))
    needed = required(EVERY_CLUSTER, GPU, CPU, second, ON_GPU, usable=("second",))
    assert needed.problem_of(request()) == ""
    assert needed.problems(request()) == {name: not_ready(name) for name in ("cpu", "gpu")}


def test_a_request_waits_where_only_clusters_of_other_labels_can_be_used() -> None:
    needed = required(EVERY_CLUSTER, GPU, CPU, ON_GPU, usable=("cpu",))
    assert needed.problem_of(request()) == not_ready("gpu")
    assert needed.problem_of(request(execution_cluster_label="cpu")) == ""
    # Requests behind it are read, because some of them can run.
    assert needed.problem("shop-development") == ""


def test_a_disabled_cluster_does_not_count_among_every_cluster() -> None:
    off = ClusterChanged(name="off", enabled=False)
    needed = required(EVERY_CLUSTER, GPU, off, usable=("off",))
    assert needed.problem("shop-development") == not_ready("gpu")
    assert required(EVERY_CLUSTER, off).problem("shop-development") == ""


@pytest.mark.parametrize("wanted", [{}, {"execution_cluster_label": "typo"}])
def test_an_execution_that_will_be_refused_does_not_wait(wanted: dict[str, Any]) -> None:
    needed = required(EVERY_CLUSTER, GPU, CPU)
    assert needed.problem_of(request(**wanted)) == ""


def test_the_reason_is_bounded_for_many_clusters() -> None:
    many = [ClusterChanged(name=f"c{number:03}", labels=("gpu",)) for number in range(100)]
    reason = required(EVERY_CLUSTER, *many, ON_GPU).problem_of(request())
    assert reason.startswith("; ".join(not_ready(f"c00{number}") for number in range(3)))
    listed = ", ".join(f"c{number:03}" for number in range(3, 13))
    assert reason.endswith(f"; it is not ready on {listed} and 87 more either")
