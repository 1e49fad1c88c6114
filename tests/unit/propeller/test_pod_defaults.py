"""The configuration of pods: what it accepts, and its form in a stored resolution."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.propeller.building import request, settings
from trimtab.runtime import config
from trimtab_propeller.config import PropellerConfig
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.pods.defaults import PodConfig, PodDefaults
from trimtab_propeller.resolution import Site, resolve

FULL: Mapping[str, Any] = {
    "function_image": "registry.example.com/tasks:v1",
    "image_pull_secrets": ["registry"],
    "priority_classes": {"0": "normal", "10": "urgent"},
    "tolerations": [{"key": "team", "operator": "Equal", "value": "ml", "effect": "NoSchedule"}],
    "interruptible": {
        "tolerations": [{"key": "spot", "operator": "Exists", "tolerationSeconds": 30}],
        "node_requirement": {"key": "capacity", "operator": "In", "values": ["spot"]},
    },
    "resource_tolerations": {"nvidia.com/gpu": []},
    "pod_templates": {"base": {"labels": {"a": "b"}, "pod_spec": {"hostname": "x"}}},
    "pod_template": "base",
}


def loaded(monkeypatch: pytest.MonkeyPatch, **variables: str) -> PodConfig:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return config.load(PropellerConfig).pods


def test_the_file_and_variables_configure_pods(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("pods:\n  image_pull_secrets: [registry]\n  image_pull_policy: Never\n")
    found = loaded(
        monkeypatch,
        TRIMTAB_SETTINGS_FILE=str(file),
        TRIMTAB_PODS='{"scheduler_name": "volcano"}',
        TRIMTAB_PODS__IMAGE_PULL_POLICY="Always",
    )
    assert found == PodConfig(
        image_pull_secrets=("registry",), scheduler_name="volcano", image_pull_policy="Always"
    )


def template(**spec: Any) -> dict[str, Any]:
    return {"pod_templates": {"a": {"pod_spec": spec}}}


@pytest.mark.parametrize(
    ("pods", "message"),
    [
        ("{gpu_resuorce: a}", "configuration pods.gpu_resuorce: .*did you mean 'gpu_resource'"),
        ("{tolerations: [{kye: a}]}", "pods.tolerations.0.kye: .*did you mean 'key'"),
        ("{tolerations: [{value: a}]}", "pods.tolerations.0.operator: .*no key"),
        (
            "{interruptible: {node_requirement: {key: a, operator: In}}}",
            "pods.interruptible.node_requirement.values: .*at least one value",
        ),
        (
            "{interruptible: {node_requirement: {key: a, operator: Exists, values: [b]}}}",
            "pods.interruptible.node_requirement.values: .*no values for Exists",
        ),
        ("{not_interruptible: {node_requirement: {key: a, operator: Gt}}}", "values: .*one value"),
        ("{pod_template: a}", "pods.pod_template: .*a key of pod_templates: none"),
        ("{function_image: 'a b'}", "pods.function_image: .*an image such as"),
        ("{image_pull_policy: Sometimes}", "pods.image_pull_policy: .*IfNotPresent"),
        ("{priority_classes: {high: a}}", "pods.priority_classes.high"),
        (
            "{pod_templates: {a: {pod_spec: {containers: [{name: A}]}}}}",
            "pods.pod_templates.a.pod_spec: .*pod_spec.containers.0.name",
        ),
        (
            "{pod_templates: {a: {pod_spec: {initContainers: [{name: primary-init}]}}}}",
            "default-init is the base of every init container",
        ),
    ],
)
def test_a_wrong_value_ends_the_start_and_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pods: str, message: str
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"pods: {pods}\n")
    with pytest.raises(SystemExit, match=message):
        loaded(monkeypatch, TRIMTAB_SETTINGS_FILE=str(file))


def test_the_stored_content_is_read_as_it_was() -> None:
    defaults = PodDefaults.model_validate(FULL)
    assert PodDefaults.stored(defaults.content) == defaults
    assert PodDefaults().content == {}


def test_content_of_a_later_release_is_read_without_its_fields() -> None:
    content = {"later": 1, "interruptible": {"later": 2}, "scheduler_name": "volcano"}
    assert PodDefaults.stored(content) == PodDefaults(scheduler_name="volcano")


def test_a_resolution_stores_the_configuration_of_its_admission() -> None:
    defaults = PodDefaults.model_validate(FULL)
    stored = resolve(request(), settings(), Capabilities("process"), Site(pods=defaults)).content()
    assert PodDefaults.stored(stored["pods"]) == defaults


def test_a_resolution_without_configuration_of_pods_has_the_form_of_earlier_releases() -> None:
    assert "pods" not in resolve(request(), settings(), Capabilities("process")).content()
