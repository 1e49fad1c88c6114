"""The configuration, from the environment and from the file."""

import json
from pathlib import Path

import pytest

from trimtab.runtime import config
from trimtab.settings import namespaces
from trimtab_clusterres.clusters.kubernetes.access import Kubeconfig
from trimtab_clusterres.config import ClusterAccess, ClusterresConfig


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setenv("TRIMTAB_TEMPLATES", str(tmp_path))
    return monkeypatch


def test_clusters_in_the_environment_are_json_and_win_over_the_shared_file(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("clusters: [{name: embedded, labels: [mycluster]}]")
    environment.setenv(config.FILE_VARIABLE, str(file))
    environment.setenv("TRIMTAB_CLUSTERS", json.dumps({"embedded": {"directory": "/manifests"}}))
    found = config.load(ClusterresConfig)
    assert {name: str(access.directory) for name, access in found.clusters.items()} == {
        "embedded": "/manifests"
    }


def test_a_variable_of_one_cluster_is_read_next_to_the_list_that_admin_reads(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("clusters: [{name: embedded, labels: [mycluster]}]")
    environment.setenv(config.FILE_VARIABLE, str(file))
    environment.setenv("TRIMTAB_CLUSTERS__EMBEDDED__DIRECTORY", "/manifests")
    found = config.load(ClusterresConfig).clusters
    assert found == {"embedded": ClusterAccess(directory=Path("/manifests"))}


def test_clusters_can_be_set_in_the_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("clusters: {a: {directory: /manifests, labels: [x]}, b: {weight: 2}}")
    environment.setenv(config.FILE_VARIABLE, str(file))
    found = config.load(ClusterresConfig).clusters
    assert str(found["a"].directory) == "/manifests"
    assert found["b"] == ClusterAccess()


def test_drift_is_enforced_unless_the_cluster_has_another_policy(
    environment: pytest.MonkeyPatch,
) -> None:
    clusters = {"a": {"directory": "/a"}, "b": {"directory": "/b", "drift": "warn"}}
    environment.setenv("TRIMTAB_CLUSTERS", json.dumps(clusters))
    found = config.load(ClusterresConfig).clusters
    assert {name: access.drift for name, access in found.items()} == {"a": "enforce", "b": "warn"}


def test_templates_can_be_in_several_directories(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paths = [tmp_path / name for name in ("flyte", "a", "b", "east")]
    for path in paths:
        path.mkdir()
    flyte, *common, east = map(str, paths)
    environment.setenv("PLACE", str(tmp_path))
    environment.setenv("TRIMTAB_TEMPLATES", json.dumps(common))
    environment.setenv("TRIMTAB_CLUSTER_RESOURCES__TEMPLATEPATH", "${PLACE}/flyte")
    environment.setenv(
        "TRIMTAB_CLUSTERS",
        json.dumps({"east": {"directory": "/x", "templates": east}, "west": {"directory": "/y"}}),
    )
    found = config.load(ClusterresConfig)
    assert list(map(str, found.template_directories("east"))) == [flyte, *common, east]
    assert list(map(str, found.template_directories("west"))) == [flyte, *common]


def test_flytes_block_in_the_file_is_loaded_as_it_is(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        f"cluster_resources:\n  refreshInterval: 5m\n  templatePath: {tmp_path}\n"
        "  standaloneDeployment: false\n"
        "  customData:\n  - production:\n    - projectQuotaCpu:\n        value: 5\n"
    )
    environment.setenv(config.FILE_VARIABLE, str(file))
    environment.delenv("TRIMTAB_TEMPLATES")
    environment.setenv("TRIMTAB_CLUSTERS", '{"east": {"directory": "/x"}}')
    found = config.load(ClusterresConfig)
    assert found.template_directories("east") == (tmp_path,)
    values = found.cluster_resources.read_values()
    assert values.custom_data["production"]["projectQuotaCpu"].text == "5"


def test_every_cluster_needs_templates(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.delenv("TRIMTAB_TEMPLATES")
    access = {"east": {"directory": "/x", "templates": str(tmp_path)}}
    environment.setenv("TRIMTAB_CLUSTERS", json.dumps(access))
    assert config.load(ClusterresConfig).template_directories("east") == (tmp_path,)
    environment.setenv("TRIMTAB_CLUSTERS", json.dumps({**access, "west": {"directory": "/y"}}))
    with pytest.raises(SystemExit, match="a directory of templates for cluster west"):
        config.load(ClusterresConfig)


KUBECONFIG = """
contexts: [{name: east-1, context: {}}, {name: east-2, context: {}}]
current-context: east-1
"""


def test_a_cluster_is_reached_by_a_context_of_a_kubeconfig(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(KUBECONFIG)
    environment.setenv(
        "TRIMTAB_CLUSTERS", json.dumps({"a": {"kubeconfig": str(file), "context": "east-2"}})
    )
    [found] = config.load(ClusterresConfig).clusters.values()
    assert found.api_server == Kubeconfig(file, "east-2")


@pytest.mark.parametrize(
    ("content", "fields", "reason"),
    [
        (KUBECONFIG, {"context": "east-3"}, "'east-3' does not exist; did you mean"),
        ("contexts: [{name: a}]", {}, "no current-context; name a context, of: a"),
        ("contexts: []\ncurrent-context: a", {}, "'a' does not exist"),
        ("- a", {}, "is not a kubeconfig"),
        ("{", {}, "is not a kubeconfig: it is not YAML"),
        (None, {}, "clusters.a.kubeconfig"),
        (KUBECONFIG, {"directory": "/a"}, "only one of directory, kubeconfig and in_cluster"),
        (KUBECONFIG, {"kubeconfig": None, "context": "a"}, "context needs kubeconfig"),
        (KUBECONFIG, {"kubeconfig": None, "in_cluster": True}, "it works in a pod only"),
    ],
)
def test_a_cluster_that_cannot_be_reached_ever_ends_the_start(
    environment: pytest.MonkeyPatch,
    tmp_path: Path,
    content: str | None,
    fields: dict[str, object],
    reason: str,
) -> None:
    environment.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    file = tmp_path / "kubeconfig"
    if content is not None:
        file.write_text(content)
    environment.setenv("TRIMTAB_CLUSTERS", json.dumps({"a": {"kubeconfig": str(file)} | fields}))
    with pytest.raises(SystemExit) as caught:
        config.load(ClusterresConfig)
    assert reason in str(caught.value)


def test_an_empty_namespace_template_is_the_default(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TRIMTAB_NAMESPACE_TEMPLATE", "")
    assert config.load(ClusterresConfig).namespace_template == namespaces.DEFAULT


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("TRIMTAB_TEMPLATES", "/nowhere", "configuration templates.0: '/nowhere' is not valid"),
        ("TRIMTAB_TEMPLATES", "", "configuration templates: null is not valid"),
        ("TRIMTAB_TEMPLATES", "[]", "allowed: a directory of templates"),
        ("TRIMTAB_CLUSTER_RESOURCES", '{"templatePath": "/x"}', "templatePath: '/x' is not valid"),
        (
            "TRIMTAB_CLUSTER_RESOURCES",
            '{"templateData": {"project": {"value": "x"}}}',
            "allowed: a name that is not reserved",
        ),
        ("TRIMTAB_NAMESPACE_TEMPLATE", "{{project}}", "placeholders are {{ project }} and"),
        ("TRIMTAB_CLUSTERS", "{", "clusters"),
    ],
)
def test_a_wrong_value_ends_the_start_with_one_sentence(
    environment: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        config.load(ClusterresConfig)
    assert reason in str(caught.value)
