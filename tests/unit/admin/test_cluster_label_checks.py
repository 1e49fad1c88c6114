"""The label of clusters of a request or a launch plan, checked before the execution is stored."""

import pytest

from tests.unit.propeller.building import record, settings
from trimtab.errors import Invalid
from trimtab.levels import Scope
from trimtab.messages.events import ClusterChanged
from trimtab.workflows.graphs.launch_plans import ExecutionConfig
from trimtab_admin.executions import cluster_label_checks

TARGET = Scope("development", "shop", "nightly")
NONE = ExecutionConfig()
CPU = ExecutionConfig(execution_cluster_label="cpu")
KNOWN = (ClusterChanged(name="a", labels=("gpu",)), ClusterChanged(name="b", labels=("cpu",)))
GPU_ONLY = record("pod_policy", {"cluster_labels": ["gpu"]})


@pytest.mark.parametrize(
    ("request_", "plan", "path"),
    [(CPU, NONE, ""), (NONE, CPU, "launch_plan."), (CPU, CPU, "")],
)
def test_a_label_outside_the_policy_is_refused_with_its_field(
    request_: ExecutionConfig, plan: ExecutionConfig, path: str
) -> None:
    with pytest.raises(Invalid) as refused:
        cluster_label_checks.check(request_, plan, settings(*KNOWN, GPU_ONLY), TARGET)
    assert refused.value.path == f"{path}execution_cluster_label"
    assert refused.value.allowed.startswith("gpu, by pod_policy.cluster_labels of project-domain")


def test_an_unknown_label_is_refused_with_the_nearest() -> None:
    wanted = ExecutionConfig(execution_cluster_label="cpus")
    known = "labels of clusters that can be selected: cpu, gpu; did you mean 'cpu'"
    with pytest.raises(Invalid, match=known):
        cluster_label_checks.check(wanted, NONE, settings(*KNOWN), TARGET)


def test_a_label_of_idle_clusters_only_is_refused() -> None:
    idle = ClusterChanged(name="c", labels=("cpu",), weight=0)
    with pytest.raises(Invalid, match="that can be selected: gpu"):
        cluster_label_checks.check(CPU, NONE, settings(KNOWN[0], idle), TARGET)


def test_other_labels_are_accepted() -> None:
    cluster_label_checks.check(CPU, NONE, settings(*KNOWN), TARGET)
    cluster_label_checks.check(NONE, NONE, settings(*KNOWN, GPU_ONLY), TARGET)
