"""The settings file that services share: every key of it is read, or the start is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trimtab.runtime import config
from trimtab_admin.config import AdminConfig
from trimtab_clusterres.config import ClusterresConfig
from trimtab_resmgr.config import ResmgrConfig

Load = Callable[..., config.ServiceConfig]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """Return a function that loads a configuration from a settings file with a text."""

    def loaded(
        text: str, service: type[config.ServiceConfig] = AdminConfig
    ) -> config.ServiceConfig:
        file = tmp_path / "settings.yaml"
        file.write_text(text)
        monkeypatch.setenv(config.FILE_VARIABLE, str(file))
        monkeypatch.setenv("TRIMTAB_TEMPLATES", str(tmp_path))
        return config.load(service)

    return loaded


def test_keys_of_other_services_are_accepted(load: Load) -> None:
    text = "domains: [a]\ntemplates: /x\nexecutor: process\nresourcemanager: {type: noop}\n"
    assert load(text, AdminConfig).model_dump()["domains"] == ("a",)
    assert load(text, ResmgrConfig).model_dump()["resourcemanager"]["type"] == "noop"


def test_an_empty_file_has_no_key(load: Load) -> None:
    assert load("# nothing\n") == load("{}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("domians: [a]", "there is no key 'domians'; did you mean 'domains'"),
        ("Domains: [a]", "there is no key 'Domains'; did you mean 'domains'"),
        ("recrods: {}", "there is no key 'recrods'; did you mean 'records'"),
        ("nats_ulr: x", "there is no key 'nats_ulr'; did you mean 'nats_url'"),
        ("zzz: x", "there is no key 'zzz'; the keys are "),
        ("pools: [{name: a, quotta: 3}]", "pools.0.quotta: 3 is not valid; allowed: one of name"),
        ("pools: [{name: a, quotta: 3}]", "did you mean 'quota'?"),
        ("clusters: [{name: a, lables: []}]", "did you mean 'labels'"),
        ("domains:", "configuration domains: null is not valid"),
        ("- domains", "a mapping with the keys of the configuration"),
        ("domains: [a]\ndomains: [b]", "line 2, column 1: the key 'domains' is given twice"),
        ("domains: [a]\n---\ndomains: [b]", "holds 2 documents; only one is allowed"),
        ("domains: [a", "settings.yaml is not YAML in line 1, column 12"),
    ],
)
def test_a_key_that_nothing_reads_ends_the_start_and_names_the_nearest(
    load: Load, text: str, message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        load(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_that_no_service_reads_of_a_cluster_is_refused(load: Load) -> None:
    load("clusters: {a: {directory: /x, labels: [x], weight: 2}}", ClusterresConfig)
    with pytest.raises(SystemExit, match=r"clusters\.a\.directroy: .* did you mean 'directory'"):
        load("clusters: {a: {directroy: /x}}", ClusterresConfig)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TRIMTAB_NATS_URL", "nats://trimtab:hunter2@h:x"),
        ("TRIMTAB_NATS_URL", "nats://trimtab:hun/hunter2@h"),
        ("TRIMTAB_NATS_URL", "nats://hunter2@:4222"),
        ("TRIMTAB_DATABASE_URL", "postgresql://trimtab:hunter2@h/db"),
        ("TRIMTAB_DATABASE_URL", "postgresql+asyncpg://trimtab:hunter2@h:x/db"),
        ("TRIMTAB_RESOURCEMANAGER", '{"redis": {"hostKey": ["hunter2"]}}'),
        ("TRIMTAB_RESOURCEMANAGER", '{"redis": "redis://:hunter2@h"}'),
        ("TRIMTAB_RESOURCEMANAGER__REDIS__HOSTKEY", '{"a": "hunter2"'),
        ("TRIMTAB_RESOURCEMANAGER__REDIS__HOSTPATHS", '["redis://u:hunter2@h/p"]'),
        ("TRIMTAB_RESOURCEMANAGER__REDIS", '{"hostKey": "hunter2"'),
        ("TRIMTAB_RECORDS", '{"x": "hunter2"'),
    ],
)
def test_an_error_of_the_environment_has_no_secret(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    service = ResmgrConfig if "RESOURCE" in variable else AdminConfig
    try:
        found = repr(config.load(service))
    except SystemExit as stopped:
        found = str(stopped)
    assert "hunter2" not in found
    assert variable.removeprefix("TRIMTAB_").split("__")[0].lower() in found


def test_a_key_that_a_variable_repeats_ends_the_start(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_RESOURCEMANAGER", '{"type": "redis", "type": "noop"}')
    with pytest.raises(SystemExit, match='field "resourcemanager"'):
        load("{}", ResmgrConfig)
