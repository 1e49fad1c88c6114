"""Builders of attempts and of the configuration of pods, for the tests of single steps."""

from typing import Any

from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.pods import PodDefaults, build_pod
from trimtab_propeller.pods.draft import Manifest


def attempt(**fields: Any) -> Attempt:
    """Return an attempt of a container's task. ``pod`` is the spec of its pod template."""
    pod, primary = fields.pop("pod", None), fields.pop("primary_name", "primary")
    if pod is not None:
        template = {"pod_spec": pod, "primary_container_name": primary}
        fields["pod_template"] = template | fields.pop("pod_metadata", {})
    content = {
        "target": {"type": "container", "command": ["train"]},
        "execution": "e1",
        "node": "n0",
        "number": 0,
        "project": "shop",
        "domain": "development",
        "workflow": "nightly",
        "task": "train",
        "inputs": {},
        "environment": {},
        "image": "registry.example.com/train:v1",
    }
    return Attempt.model_validate(content | fields)


def defaults(**fields: Any) -> PodDefaults:
    return PodDefaults.model_validate(fields)


def template(*, metadata: dict[str, Any] | None = None, **spec: Any) -> PodDefaults:
    """Return a configuration whose default template has this spec."""
    return defaults(
        pod_templates={"base": {"pod_spec": spec, **(metadata or {})}}, pod_template="base"
    )


def spec(attempt: Attempt, configured: PodDefaults | None = None) -> Manifest:
    found: Manifest = build_pod(attempt, configured or PodDefaults())["spec"]
    return found


def container(pod: Manifest, name: str = "primary") -> Manifest:
    listed = [*pod.get("initContainers", ()), *pod["containers"]]
    [found] = [each for each in listed if each["name"] == name]
    result: Manifest = found
    return result
