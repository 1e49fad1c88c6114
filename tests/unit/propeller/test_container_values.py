"""Containers of a pod template at admission: their amounts are values or within the limits."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.golden_pods import IMAGE, LIMITS, LOWERING, Case, template
from tests.unit.propeller.building import overrides, request, settings
from trimtab.messages.resolutions import Resolution, ResolvedValue
from trimtab.resolution.limits import Refusal
from trimtab.workflows.graphs.targets import Pod
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import resolve

Amounts = Mapping[str, Mapping[str, Any]]


def container(name: str, resources: Amounts) -> dict[str, Any]:
    return {"name": name, "image": IMAGE, "resources": resources}


def resolved(*containers: Any, records: Any = LIMITS, **config: Any) -> Resolution:
    own = {"pod_template": template(*containers, **config.pop("spec", {})), **config}
    return resolve(request(task=overrides(**own)), settings(records), Capabilities("any"))


def values(resolution: Resolution) -> Mapping[str, ResolvedValue]:
    return {value.path: value for value in resolution.nodes["n0"]}


def test_amounts_of_the_primary_container_are_below_those_of_the_task_and_above_defaults() -> None:
    own = container("primary", {"requests": {"cpu": "2", "memory": "1Gi"}})
    found = values(resolved(own, resources={"requests": {"cpu": "1"}}))
    cpu, memory = found["resources.requests.cpu"], found["resources.requests.memory"]
    assert (cpu.value, cpu.source) == ("1", "task")
    assert (memory.value, memory.source) == ("1Gi", "pod_template")
    assert "resources.limits.memory" not in found


@pytest.mark.parametrize("name", ["gpu", "nvidia.com/gpu"])
def test_gpus_of_the_primary_container_have_either_name(name: str) -> None:
    found = values(resolved(container("primary", {"limits": {name: 2}})))
    assert found["resources.limits.gpu"].value == "2"
    with pytest.raises(Refusal, match=r"resources\.limits\.gpu: 5 \(pod_template\)"):
        resolved(container("primary", {"limits": {name: 5}}))


@pytest.mark.parametrize("group", ["containers", "initContainers"])
def test_an_amount_of_another_container_over_a_limit_is_refused(group: str) -> None:
    sidecar = container("cache", {"requests": {"cpu": "5"}})
    spec = {"initContainers": [sidecar]} if group == "initContainers" else {}
    others = () if spec else (sidecar,)
    with pytest.raises(Refusal) as refused:
        resolved(*others, spec=spec)
    assert refused.value.path == "containers.cache.resources.requests.cpu"
    assert (refused.value.node, refused.value.limit) == ("n0", "4")


def test_an_amount_of_another_container_is_lowered_with_a_note_where_settings_allow_it() -> None:
    sidecar = container("cache", {"limits": {"cpu": "5", "memory": "1Gi"}})
    found = values(resolved(sidecar, records=LOWERING))
    lowered = found["containers.cache.resources.limits.cpu"]
    assert (lowered.value, lowered.source) == ("4", "task_resource.limits.cpu")
    assert lowered.note == "lowered from 5 (pod_template)"
    assert not any("cache" in path and "memory" in path for path in found)


def test_other_containers_get_no_defaults_and_no_empty_amounts() -> None:
    plain = {"name": "plain", "image": IMAGE}
    case = Case(
        config={"pod_template": template({"name": "primary", "image": IMAGE}, plain)},
        target=Pod(),
        settings=(LIMITS,),
    )
    primary, other = case.pod()["spec"]["containers"]
    assert primary["resources"]["requests"] == {"cpu": "500m", "memory": "500Mi"}
    assert "resources" not in other


def test_a_resource_that_is_not_resolved_stays_in_every_container() -> None:
    huge = {"requests": {"hugepages-2Mi": "64Mi"}, "limits": {"hugepages-2Mi": "64Mi"}}
    case = Case(
        config={"pod_template": template(container("primary", huge), container("other", huge))},
        target=Pod(),
    )
    assert [each["resources"] for each in case.pod()["spec"]["containers"]] == [huge, huge]


def test_a_pod_whose_primary_container_has_no_image_is_refused() -> None:
    with pytest.raises(Refusal, match='the container "main"'):
        Case(config={"pod_template": template(primary="main")}, target=Pod()).attempt()
