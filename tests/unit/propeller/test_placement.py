"""The cluster of an execution: which ones fit, which one is selected, and what the note states."""

import math
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.propeller.building import PROJECT_DOMAIN, node, record, request, settings
from trimtab.levels import PLATFORM, Scope
from trimtab.messages import subjects
from trimtab.messages.events import ClusterChanged, Event, LaterChange, QueueChanged
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import ResolvedValue
from trimtab.resolution.limits import Refusal
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.launch_plans import PlanCall
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import Site, resolve
from trimtab_propeller.resolution.placement import select

ANY_EXECUTOR = Capabilities("any")
NO_PROBLEMS = Site()
LABEL = "execution_cluster_label"
POOL = "cluster_assignment"
LABELLED = record(LABEL, {"value": "gpu"})
ANY = record(LABEL, {"any": True})


def clusters(*labels: str, **weights: float) -> list[ClusterChanged]:
    return [ClusterChanged(name=name, labels=labels, weight=w) for name, w in weights.items()]


def values(
    after: Settings, wanted: Request | None = None, site: Site = NO_PROBLEMS
) -> dict[str, ResolvedValue]:
    resolution = resolve(wanted or request(), after, ANY_EXECUTOR, site)
    return {value.path: value for value in resolution.nodes["n0"]}


def refusal(*events: Event, **fields: Any) -> Refusal:
    with pytest.raises(Refusal) as refused:
        values(settings(*events), request(**fields))
    return refused.value


WEIGHTS = st.dictionaries(
    st.from_regex("[a-z]{1,8}", fullmatch=True), st.floats(0.01, 100), min_size=2, max_size=8
)


def selected(weights: dict[str, float], executions: int) -> dict[str, str]:
    known = clusters(**weights)
    return {f"e{each}": select(f"e{each}", known).name for each in range(executions)}


@pytest.mark.parametrize(
    "weights", [{"a": 1, "b": 3}, {"a": 1, "b": 1, "c": 1}, {"x": 0.1, "y": 2}]
)
def test_executions_are_distributed_by_weight(weights: dict[str, float]) -> None:
    number = 4000
    counted = Counter(selected(weights, number).values())
    for name, weight in weights.items():
        share = weight / sum(weights.values())
        # Five standard deviations of a binomial distribution; the ids are fixed.
        assert abs(counted[name] - number * share) < 5 * math.sqrt(number * share * (1 - share))


@given(WEIGHTS, st.data())
def test_a_cluster_that_leaves_moves_only_its_own_executions(
    weights: dict[str, float], data: st.DataObject
) -> None:
    leaving = data.draw(st.sampled_from(sorted(weights)))
    before = selected(weights, 50)
    after = selected({name: w for name, w in weights.items() if name != leaving}, 50)
    assert {e for e in before if before[e] != after[e]} == {
        e for e, name in before.items() if name == leaving
    }


@given(WEIGHTS, st.data())
def test_a_cluster_that_gets_more_weight_takes_executions_and_loses_none(
    weights: dict[str, float], data: st.DataObject
) -> None:
    growing = data.draw(st.sampled_from(sorted(weights)))
    before = selected(weights, 50)
    after = selected({**weights, growing: weights[growing] * 3}, 50)
    assert {after[e] for e in before if before[e] != after[e]} <= {growing}


@given(st.lists(st.floats(min_value=0, exclude_min=True, allow_infinity=False), min_size=1))
def test_every_positive_weight_can_be_compared(weights: list[float]) -> None:
    known = clusters(**{f"c{number}": weight for number, weight in enumerate(weights)})
    assert select("e1", known) == select("e1", known[::-1])


def test_another_process_selects_the_same_clusters() -> None:
    program = (
        "from tests.unit.propeller.test_placement import selected; "
        "print(*selected({'a': 1, 'b': 2, 'c': 3}, 40).values())"
    )
    found = subprocess.run(
        (sys.executable, "-c", program),
        env={"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == list(selected({"a": 1, "b": 2, "c": 3}, 40).values())


def test_a_cluster_of_weight_0_and_a_disabled_one_get_no_execution() -> None:
    off = ClusterChanged(name="off", labels=("gpu",), enabled=False)
    after = settings(*clusters("gpu", one=1, two=2, none=0), off, LABELLED)
    found = {values(after, request(execution=f"e{n}"))["cluster"].value for n in range(200)}
    assert found == {"one", "two"}


def test_the_cluster_has_the_source_of_its_label_and_a_note_with_the_others() -> None:
    found = values(settings(*clusters("gpu", one=1, two=1), *clusters(three=1), LABELLED))
    cluster, label = found["cluster"], found[LABEL]
    assert label.value == "gpu"
    assert (cluster.source, cluster.scope, cluster.revision) == (
        f"{LABEL}.value",
        str(PROJECT_DOMAIN),
        4,
    )
    assert cluster.note == "by weight from the clusters of the label 'gpu': one, two"


def test_without_a_label_the_only_enabled_cluster_is_taken() -> None:
    after = settings(*clusters(only=1, idle=0), ClusterChanged(name="off", enabled=False))
    cluster = values(after)["cluster"]
    assert (cluster.value, cluster.source) == ("only", "engine")
    assert cluster.note == "the only enabled cluster"


def test_without_a_label_several_clusters_are_refused_with_the_setting_to_write() -> None:
    refused = refusal(*clusters(one=1, two=1))
    assert refused.path == f"{LABEL}.value"
    assert str(refused) == (
        "the execution may run on several clusters: one, two; set execution_cluster_label of "
        "workflow shop/development/nightly or a broader scope: a label as value, or any: true for "
        "a selection by weight"
    )


def test_a_setting_allows_any_cluster() -> None:
    cluster = values(settings(*clusters(one=1, two=1), ANY))["cluster"]
    assert cluster.value in ("one", "two")
    assert (cluster.source, cluster.scope) == (f"{LABEL}.any", str(PROJECT_DOMAIN))
    assert cluster.note == "by weight from every enabled cluster: one, two"


@pytest.mark.parametrize("narrow", [{"any": False}, {"unset": ["any"]}])
def test_a_narrower_scope_may_forbid_any_cluster(narrow: dict[str, Any]) -> None:
    broad = record(LABEL, {"any": True}, PLATFORM)
    assert "several clusters" in str(refusal(*clusters(a=1, b=1), broad, record(LABEL, narrow)))


def test_a_narrower_label_replaces_any_cluster_and_the_other_way_round() -> None:
    known = [*clusters("gpu", one=1), *clusters(two=1)]
    broad = record(LABEL, {"any": True}, PLATFORM)
    assert values(settings(*known, broad, LABELLED))[LABEL].value == "gpu"
    label = record(LABEL, {"value": "typo"}, PLATFORM)
    assert LABEL not in values(settings(*known, label, ANY))


def test_no_declared_cluster_is_no_cluster() -> None:
    assert "cluster" not in values(settings())
    assert "cluster" not in values(settings(ANY))


@pytest.mark.parametrize(
    "cluster", [ClusterChanged(name="off", enabled=False), ClusterChanged(name="idle", weight=0)]
)
def test_clusters_of_which_none_can_be_selected_are_refused(cluster: ClusterChanged) -> None:
    message = f"no enabled cluster of a positive weight is declared; clusters: {cluster.name}"
    assert str(refusal(cluster)) == message


@pytest.mark.parametrize(
    ("cluster", "known"),
    [
        (ClusterChanged(name="c", labels=("intel",)), "intel"),
        (ClusterChanged(name="c", labels=("gpus",)), "gpus; did you mean 'gpus'?"),
        (ClusterChanged(name="c"), "none"),
    ],
)
def test_a_label_that_no_cluster_has_is_refused_by_name(
    cluster: ClusterChanged, known: str
) -> None:
    refused = refusal(cluster, LABELLED)
    assert str(refused) == (
        f"no enabled cluster of a positive weight has the label 'gpu' ({LABEL}.value of "
        f"{PROJECT_DOMAIN}); labels of clusters that can be selected: {known}"
    )
    assert (refused.path, refused.value, refused.scope) == (
        f"{LABEL}.value",
        "gpu",
        str(PROJECT_DOMAIN),
    )


def test_a_label_of_idle_and_disabled_clusters_only_is_refused() -> None:
    off = ClusterChanged(name="off", labels=("gpu",), enabled=False)
    message = str(refusal(*clusters("gpu", idle=0), off, *clusters("intel", a=1), LABELLED))
    assert message.endswith("; labels of clusters that can be selected: intel")


def test_a_cluster_that_only_a_later_release_knows_is_refused_by_name() -> None:
    later = LaterChange(subject=subjects.cluster("new"), text="{}")
    assert str(refusal(*clusters(a=1), later)) == (
        "the cluster 'new' was declared by a later release"
    )


POOLED = record(POOL, {"cluster_pool_name": "nightly"}, PLATFORM)


def test_the_cluster_has_the_label_and_is_in_the_pool() -> None:
    after = settings(
        *clusters("gpu", "nightly", both=1), *clusters("gpu", a=1), *clusters("nightly", b=1),
        LABELLED, POOLED,
    )  # fmt: skip
    cluster = values(after)["cluster"]
    assert cluster.value == "both"
    assert cluster.note == "the only enabled cluster of the label 'gpu' and the pool 'nightly'"


def test_a_pool_may_leave_one_cluster_and_is_its_source() -> None:
    cluster = values(settings(*clusters("nightly", a=1), *clusters(b=1), POOLED))["cluster"]
    assert (cluster.value, cluster.source, cluster.scope) == (
        "a",
        f"{POOL}.cluster_pool_name",
        "platform",
    )


def test_several_clusters_of_a_pool_are_refused_too() -> None:
    message = str(refusal(*clusters("nightly", a=1, b=1), POOLED))
    assert (
        f"on several clusters, with the pool 'nightly' ({POOL}.cluster_pool_name of platform): a, b"
        in message
    )


def test_a_label_and_a_pool_that_no_cluster_has_are_refused_with_both_scopes() -> None:
    refused = refusal(*clusters("gpu", a=1), *clusters("nightly", b=1, c=1), LABELLED, POOLED)
    assert str(refused) == (
        "no enabled cluster of a positive weight meets every requirement; the label 'gpu' "
        f"({LABEL}.value of {PROJECT_DOMAIN}): a; the pool 'nightly' ({POOL}.cluster_pool_name "
        "of platform): b, c"
    )


def queue(*names: str) -> list[Event]:
    tags = record("execution_queue", {"tags": ["batch"]}, PLATFORM)
    return [QueueChanged(name="night", attributes=("batch",), clusters=names), tags]


def test_the_cluster_is_one_of_the_queue() -> None:
    known = clusters("gpu", one=1, two=1)
    for name in ("one", "two"):
        cluster = values(settings(*known, LABELLED, *queue(name)))["cluster"]
        assert cluster.value == name
        assert cluster.note == "the only enabled cluster of the label 'gpu' and the queue 'night'"
    assert "by weight" in values(settings(*known, LABELLED, *queue()))["cluster"].note


def test_a_queue_of_other_clusters_is_refused_with_every_scope() -> None:
    assert str(refusal(*clusters(a=1), *queue("x", "y"))) == (
        "no enabled cluster of a positive weight is one of x, y, those of the queue 'night', for "
        "execution_queue.tags of platform"
    )
    conflict = str(refusal(*clusters("gpu", a=1), *clusters(b=1), LABELLED, *queue("b")))
    assert "the queue 'night' (execution_queue.tags of platform): b" in conflict


OWN = {"execution_cluster_label": "cpu"}
BOTH = (*clusters("gpu", a=1), *clusters("cpu", b=1))


@pytest.mark.parametrize(
    ("plan", "own", "source"),
    [
        (OWN, {}, "launch plan"),
        ({"execution_cluster_label": "typo"}, OWN, "execution"),
        ({}, OWN, "execution"),
    ],
)
def test_a_label_of_the_request_and_then_of_its_launch_plan_wins_over_the_settings(
    plan: dict[str, Any], own: dict[str, Any], source: str
) -> None:
    found = values(settings(*BOTH, LABELLED), request(plan=plan, **own))
    assert (found["cluster"].value, found["cluster"].source) == ("b", source)
    label = found[LABEL]
    assert (label.value, label.source) == ("cpu", source)
    assert label.note == f"instead of 'gpu', of {PROJECT_DOMAIN}"


def allowed(*labels: str) -> Event:
    return record("pod_policy", {"cluster_labels": list(labels)}, PLATFORM)


def test_a_label_outside_the_allowed_ones_is_refused_with_their_scope() -> None:
    refused = refusal(*BOTH, allowed("gpu", "cpus"), plan=OWN)
    assert str(refused) == (
        "execution_cluster_label: 'cpu' (launch plan) is not allowed; allowed: gpu, cpus, by "
        "pod_policy.cluster_labels of platform; did you mean 'cpus' or 'gpu'?"
    )
    assert (refused.path, refused.value, refused.scope) == (LABEL, "cpu", "platform")
    assert "allowed: none, by" in str(refusal(*BOTH, allowed(), **OWN))


def test_an_allowed_label_and_every_label_of_the_settings_are_accepted() -> None:
    assert values(settings(*BOTH, allowed("cpu")), request(**OWN))["cluster"].value == "b"
    assert values(settings(*BOTH, allowed("cpu"), LABELLED))["cluster"].value == "a"


def test_the_policy_of_a_called_launch_plan_has_to_allow_the_label_too() -> None:
    call = PlanCall(project="bank", domain="development", workflow="audit", launch_plan="audit")
    called = request(node().model_copy(update={"plan": "n0"}), **OWN)
    workflow = called.workflow.model_copy(update={"plans": {"n0": call}})
    called = called.model_copy(update={"workflow": workflow})
    policy = record("pod_policy", {"cluster_labels": ["gpu"]}, Scope("development", "bank"))
    with pytest.raises(Refusal, match="of project-domain bank/development"):
        values(settings(*BOTH, policy), called)
    assert values(settings(*BOTH), called)["cluster"].value == "b"


def test_a_label_of_the_request_that_no_cluster_has_is_refused_with_the_nearest() -> None:
    refused = refusal(*BOTH, execution_cluster_label="gpus")
    assert "labels of clusters that can be selected: cpu, gpu; did you mean 'gpu'" in str(refused)


NOT_READY = "namespace shop-development on cluster {} is not ready: it failed"


def test_a_cluster_with_a_problem_is_skipped_with_its_reason() -> None:
    after = settings(*clusters("gpu", one=1, two=1), LABELLED)
    for name, other in (("one", "two"), ("two", "one")):
        site = Site({name: NOT_READY.format(name), "elsewhere": "no"})
        cluster = values(after, site=site)["cluster"]
        assert cluster.value == other
        assert cluster.note == (
            f"by weight from the clusters of the label 'gpu': {other}; "
            f"skipped {name}: {NOT_READY.format(name)}"
        )


def test_clusters_that_all_have_problems_are_selected_from_with_a_note() -> None:
    after = settings(*clusters("gpu", one=1, two=1), LABELLED)
    found = values(after, site=Site({"one": "a" * 9000, "two": "b" * 9000}))["cluster"]
    assert found.value == values(after)["cluster"].value
    assert "none of them can be used now: " in found.note
    assert len(found.note) < 400


def test_health_does_not_replace_a_choice() -> None:
    with pytest.raises(Refusal, match="several clusters"):
        values(settings(*clusters(one=1, two=1)), site=Site({"one": "it failed"}))


def test_the_note_is_bounded_for_many_clusters() -> None:
    weights = {f"cluster-{number:03}": 1.0 for number in range(100)}
    known = [ClusterChanged(name=name, labels=("gpu",)) for name in weights]
    problems = dict.fromkeys(list(weights)[:40], "x" * 9000)
    note = values(settings(*known, LABELLED), site=Site(problems))["cluster"].note
    assert "cluster-049 and 50 more; skipped cluster-000: xxx" in note
    assert len(note) < 1200
