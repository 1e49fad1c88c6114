"""An execution is refused at admission where the pod of one of its nodes could not be built."""

from typing import Any

import pytest

from tests.unit.propeller.building import node, overrides, request, settings
from trimtab.resolution.limits import Refusal
from trimtab.workflows.graphs.graph import Node
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.resolution import Site, resolve
from trimtab_propeller.resolution.resolving import prepare

PODS = Capabilities("pods", makes_pods=True)
SITE = Site(pods=PodDefaults(function_image="registry.example.com/tasks:v1"))


def with_values(**values: Any) -> Node:
    return node("n1", compiled=overrides(**values))


@pytest.mark.parametrize(
    ("values", "path", "message"),
    [
        ({"accelerator": "t4"}, "accelerator", "'t4' needs a GPU"),
        (
            {
                "shared_memory": True,
                "pod_template": {"pod_spec": {"volumes": [{"name": "trimtab-shared-memory"}]}},
            },
            "shared_memory",
            "has a volume trimtab-shared-memory of its own",
        ),
        (
            {"pod_template": {"annotations": {"trimtab.io/pod-template": "gpu"}}},
            "annotations.trimtab.io/pod-template",
            "there is no pod template 'gpu'",
        ),
        (
            {"pod_template": {"pod_spec": {"tolerations": "all"}}},
            "pod_template.pod_spec.tolerations",
            "only a list of objects",
        ),
    ],
)
def test_a_pod_that_cannot_be_built_refuses_its_execution(
    values: dict[str, Any], path: str, message: str
) -> None:
    wanted = request(node("n0"), with_values(**values))
    with pytest.raises(Refusal, match=message) as error:
        resolve(wanted, settings(), PODS, SITE)
    assert (error.value.path, error.value.node) == (path, "n1")


def test_a_function_without_any_image_refuses_its_execution() -> None:
    with pytest.raises(Refusal, match="no container image") as error:
        resolve(request(), settings(), PODS)
    assert (error.value.path, error.value.node) == ("target", "n0")


def test_an_executor_without_pods_admits_what_no_pod_could_have() -> None:
    wanted = request(with_values(accelerator="t4"))
    assert resolve(wanted, settings(), Capabilities("process")).nodes


def test_the_pod_of_one_node_can_be_checked_where_the_executor_makes_none() -> None:
    wanted = request(node("n0"), with_values(container_image="team/train:1"))
    prepared = prepare(wanted, settings(), Capabilities("any"))
    assert prepared.resolve("n1") == prepared.resolve()
    with pytest.raises(Refusal, match="has no container image"):
        prepared.resolve("n0")
