"""Where pods may run: tolerations, selectors, affinity, accelerators, priority classes."""

from typing import Any

import pytest

from tests.unit.propeller.pod_attempts import attempt, defaults, spec
from trimtab_propeller.pods.fields import PodRejected

SPOT = {"key": "spot", "operator": "Exists", "effect": "NoSchedule"}
IS_SPOT = {"key": "capacity", "operator": "In", "values": ["spot"]}
NO_SPOT = {"key": "capacity", "operator": "NotIn", "values": ["spot"]}
CAPACITY = defaults(
    interruptible={
        "tolerations": [SPOT],
        "node_selector": {"pool": "spot"},
        "node_requirement": IS_SPOT,
    },
    not_interruptible={"node_requirement": NO_SPOT},
    node_selector={"pool": "any", "zone": "a"},
)
GPU = {"requests": {"gpu": "1"}, "limits": {"gpu": "1"}}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def terms(pod: dict[str, Any]) -> Any:
    return pod["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]


def with_terms(*given: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [*given]}}, **fields}}


def test_an_interruptible_pod_tolerates_selects_and_requires_its_capacity() -> None:
    pod = spec(attempt(interruptible=True), CAPACITY)
    assert pod["tolerations"] == [SPOT]
    assert pod["nodeSelector"] == {"pool": "spot", "zone": "a"}
    assert terms(pod) == [{"matchExpressions": [IS_SPOT]}]


def test_another_pod_requires_the_rest() -> None:
    pod = spec(attempt(), CAPACITY)
    assert "tolerations" not in pod
    assert pod["nodeSelector"] == {"pool": "any", "zone": "a"}
    assert terms(pod) == [{"matchExpressions": [NO_SPOT]}]


def test_the_requirement_is_in_every_alternative_of_the_pod() -> None:
    fields = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}
    zone = {"key": "zone", "operator": "In", "values": ["a"]}
    own = with_terms({"matchExpressions": [zone]}, fields, {})
    pod = spec(attempt(interruptible=True, pod=own), CAPACITY)
    with_fields = {**fields, "matchExpressions": [IS_SPOT]}
    # The empty term matches no node, and would match some with the requirement alone.
    assert terms(pod) == [{"matchExpressions": [zone, IS_SPOT]}, with_fields, {}]


def test_other_affinities_stay() -> None:
    others = {"podAntiAffinity": {"x": []}}
    pod = spec(attempt(pod=with_terms(**others)), CAPACITY)
    assert pod["affinity"]["podAntiAffinity"] == {"x": []}


@pytest.mark.parametrize("interruptible", [False, True])
def test_the_selector_of_the_capacity_wins_over_that_of_the_pod(interruptible: bool) -> None:
    own = {"nodeSelector": {"pool": "mine", "zone": "b"}}
    pod = spec(attempt(interruptible=interruptible, pod=own), CAPACITY)
    pool = "spot" if interruptible else "mine"
    assert pod["nodeSelector"] == {"pool": pool, "zone": "b"}


def test_without_configuration_a_pod_has_none_of_it() -> None:
    pod = spec(attempt(interruptible=True))
    assert not pod.keys() & {"affinity", "nodeSelector", "priorityClassName", "tolerations"}


def test_tolerations_are_ordered_and_each_is_there_once() -> None:
    own = {"tolerations": [{"key": "z", "operator": "Exists"}, {"key": "a", "value": "1"}]}
    configured = defaults(tolerations=[{"key": "a", "operator": "Equal", "value": "1"}, SPOT])
    pod = spec(attempt(pod=own), configured)
    assert [each["key"] for each in pod["tolerations"]] == ["a", "spot", "z"]


def test_an_accelerator_requires_its_label_and_tolerates_its_taint() -> None:
    pod = spec(attempt(accelerator="t4", resources=GPU), defaults(gpu_device_label="device"))
    assert terms(pod) == [
        {"matchExpressions": [{"key": "device", "operator": "In", "values": ["t4"]}]}
    ]
    toleration = {"key": "device", "operator": "Equal", "value": "t4", "effect": "NoSchedule"}
    assert pod["tolerations"] == [toleration]


def test_an_accelerator_and_the_capacity_are_both_required() -> None:
    pod = spec(attempt(accelerator="t4", resources=GPU, interruptible=True), CAPACITY)
    [term] = terms(pod)
    keys = [each["key"] for each in term["matchExpressions"]]
    assert keys == ["capacity", "k8s.amazonaws.com/accelerator"]


def test_the_gpu_of_a_sidecar_is_enough_for_an_accelerator() -> None:
    sidecar = {"name": "gpu", "image": "x", "resources": {"limits": {"nvidia.com/gpu": 1}}}
    assert terms(spec(attempt(accelerator="t4", pod={"containers": [sidecar]})))


@pytest.mark.parametrize("resources", [{}, {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}])
def test_an_accelerator_without_a_gpu_is_rejected(resources: dict[str, Any]) -> None:
    with pytest.raises(PodRejected, match=r"'t4' needs a GPU, .* limit of nvidia.com/gpu") as error:
        spec(attempt(accelerator="t4", resources=resources))
    assert error.value.path == "accelerator"


def test_a_gpu_without_an_accelerator_requires_no_device() -> None:
    assert "affinity" not in spec(attempt(resources=GPU))


def test_resources_bring_tolerations_also_those_of_init_containers() -> None:
    init = {"name": "i", "image": "x", "resources": {"limits": {"example.com/fpga": "1"}}}
    configured = defaults(
        resource_tolerations={
            "nvidia.com/gpu": [],
            "example.com/fpga": [{"key": "fpga", "operator": "Exists"}],
            "example.com/other": [],
        }
    )
    pod = spec(attempt(resources=GPU, pod={"initContainers": [init]}), configured)
    assert pod["tolerations"] == [
        {"key": "fpga", "operator": "Exists"},
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    ]


@pytest.mark.parametrize(
    ("priority", "name"),
    [(None, None), (-1, None), (0, "normal"), (9, "normal"), (10, "urgent"), (1000, "urgent")],
)
def test_the_priority_selects_the_class_of_the_last_number_that_it_reaches(
    priority: int | None, name: str | None
) -> None:
    configured = defaults(priority_classes={"10": "urgent", "0": "normal"})
    assert spec(attempt(priority=priority), configured).get("priorityClassName") == name


def test_scheduler_and_class_of_the_pod_stay() -> None:
    own = {"schedulerName": "mine", "priorityClassName": "own"}
    configured = defaults(scheduler_name="volcano", priority_classes={"0": "normal"})
    pod = spec(attempt(priority=1, pod=own), configured)
    assert (pod["schedulerName"], pod["priorityClassName"]) == ("mine", "own")
    assert spec(attempt(), configured)["schedulerName"] == "volcano"


@pytest.mark.parametrize(
    ("own", "path"),
    [
        ({"tolerations": "all"}, "pod_template.pod_spec.tolerations"),
        ({"nodeSelector": ["a"]}, "pod_template.pod_spec.nodeSelector"),
        ({"affinity": {"nodeAffinity": 3}}, "pod_template.pod_spec.affinity.nodeAffinity"),
    ],
)
def test_a_field_of_another_form_is_rejected_with_its_path(own: dict[str, Any], path: str) -> None:
    with pytest.raises(PodRejected) as error:
        spec(attempt(pod=own), CAPACITY)
    assert error.value.path == path


def test_neither_the_attempt_nor_the_configuration_changes() -> None:
    wanted = attempt(interruptible=True, pod=with_terms({"matchExpressions": [IS_SPOT]}))
    before = wanted.model_dump_json(), CAPACITY.model_dump_json()
    assert spec(wanted, CAPACITY) == spec(wanted, CAPACITY)
    assert (wanted.model_dump_json(), CAPACITY.model_dump_json()) == before
