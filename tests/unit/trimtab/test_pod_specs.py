"""The parts of a pod that are checked when it is written."""

from typing import Any

import pytest
from pydantic import ValidationError

from trimtab.errors import Invalid
from trimtab.workflows.graphs.node_overrides import PodTemplate
from trimtab.workflows.graphs.pod_specs import check_pod_spec, images

SIDECAR = {"name": "logger", "image": "busybox:1", "resources": {"requests": {"cpu": "50m"}}}


def test_a_pod_without_the_primary_container_is_accepted() -> None:
    check_pod_spec("pod_spec", {"nodeSelector": {"disk": "ssd"}})
    check_pod_spec("pod_spec", {"containers": [SIDECAR], "initContainers": [{"name": "prepare"}]})


@pytest.mark.parametrize(
    ("pod_spec", "path"),
    [
        ({"containers": {"name": "a"}}, "containers"),
        ({"containers": ["a"]}, "containers.0"),
        ({"containers": [{"image": "busybox:1"}]}, "containers.0.name"),
        ({"containers": [{"name": "Main"}]}, "containers.0.name"),
        ({"containers": [{"name": "a" * 64}]}, "containers.0.name"),
        ({"containers": [SIDECAR, SIDECAR]}, "containers.1.name"),
        ({"containers": [SIDECAR], "initContainers": [SIDECAR]}, "initContainers.0.name"),
        ({"containers": [{"name": "a", "image": "A B"}]}, "containers.0.image"),
        ({"containers": [{"name": "a", "image": None}]}, "containers.0.image"),
        ({"containers": [{"name": "a", "resources": []}]}, "containers.0.resources"),
        (
            {"containers": [{"name": "a", "resources": {"limits": {"memory": "1 Gi"}}}]},
            "containers.0.resources.limits.memory",
        ),
        (
            {"containers": [{"name": "a", "resources": {"requests": {"cpu": -1}}}]},
            "containers.0.resources.requests.cpu",
        ),
        (
            {"containers": [{"name": "a", "resources": {"requests": {"cpu": True}}}]},
            "containers.0.resources.requests.cpu",
        ),
        (
            {
                "containers": [
                    {
                        "name": "a",
                        "resources": {"requests": {"cpu": 2}, "limits": {"cpu": "1500m"}},
                    }
                ]
            },
            "containers.0.resources.requests.cpu",
        ),
        ({"containers": [{"name": "a", "command": "train"}]}, "containers.0.command"),
        ({"initContainers": [{"name": "a", "args": [1]}]}, "initContainers.0.args"),
        ({"containers": [{"name": "a", "env": {"LOG": "1"}}]}, "containers.0.env"),
        ({"containers": [{"name": "a", "env": [{"value": "1"}]}]}, "containers.0.env.0.name"),
        ({"restartPolicy": "Always"}, "restartPolicy"),
        ({"activeDeadlineSeconds": "60"}, "activeDeadlineSeconds"),
    ],
)
def test_the_error_names_the_wrong_part(pod_spec: Any, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_pod_spec("pod_spec", pod_spec)
    assert refused.value.path == f"pod_spec.{path}"
    with pytest.raises(ValidationError, match=f"pod_spec.{path}: "):
        PodTemplate(pod_spec=pod_spec)


def test_null_is_an_absent_field_as_in_kubernetes() -> None:
    fields = ("command", "args", "env", "resources")
    check_pod_spec(
        "pod_spec",
        {"containers": [{"name": "a", **dict.fromkeys(fields)}], "restartPolicy": None},
    )


def test_the_container_that_runs_the_task_is_no_init_container() -> None:
    with pytest.raises(ValidationError, match="'prepare', is an init container"):
        PodTemplate(
            pod_spec={"initContainers": [{"name": "prepare"}]}, primary_container_name="prepare"
        )


def test_the_images_of_all_containers_are_found() -> None:
    pod_spec: Any = {"containers": [SIDECAR, {"name": "b"}], "initContainers": [{"image": "c"}]}
    assert list(images(pod_spec)) == ["busybox:1", "c"]
