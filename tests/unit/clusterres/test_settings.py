"""The settings as the environment and the file give them."""

import json
from pathlib import Path

import pytest

from trimtab.runtime import config
from trimtab.settings import namespaces
from trimtab_clusterres.config import ClusterresConfig, ClusterTarget


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setenv("TRIMTAB_TEMPLATES", str(tmp_path))
    return monkeypatch


def test_clusters_come_as_json_whatever_the_shared_file_says_to_admin(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("clusters: [{name: embedded, labels: [mycluster]}]")
    environment.setenv(config.FILE_VARIABLE, str(file))
    environment.setenv("TRIMTAB_CLUSTERS", json.dumps({"embedded": {"directory": "/manifests"}}))
    found = config.load(ClusterresConfig)
    assert {name: str(target.directory) for name, target in found.clusters.items()} == {
        "embedded": "/manifests"
    }


def test_clusters_may_stand_in_the_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("clusters: {a: {directory: /manifests, labels: [x]}, b: {weight: 2}}")
    environment.setenv(config.FILE_VARIABLE, str(file))
    found = config.load(ClusterresConfig).clusters
    assert str(found["a"].directory) == "/manifests"
    assert found["b"] == ClusterTarget()


def test_an_empty_namespace_template_is_the_default(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TRIMTAB_NAMESPACE_TEMPLATE", "")
    assert config.load(ClusterresConfig).namespace_template == namespaces.DEFAULT


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("TRIMTAB_TEMPLATES", "/nowhere", "configuration templates: '/nowhere' is not valid"),
        ("TRIMTAB_NAMESPACE_TEMPLATE", "{{project}}", "placeholders are {{ project }} and"),
        ("TRIMTAB_CLUSTERS", "{", "clusters"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_a_sentence(
    environment: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        config.load(ClusterresConfig)
    assert reason in str(caught.value)
