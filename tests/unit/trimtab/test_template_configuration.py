"""Flyte's configuration block loads as it is, and its values are read from their sources."""

import os
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from trimtab.errors import Invalid
from trimtab.templates.configuration import ClusterResources
from trimtab.templates.values import TemplateValue

CHARTS = """
refreshInterval: 5m
templatePath: /etc/flyte/clusterresource/templates
standaloneDeployment: false
refresh: 5m
customData:
  - production:
      - projectQuotaCpu:
          value: "5"
      - projectQuotaMemory:
          value: 4000Mi
  - staging:
      - projectQuotaCpu: {value: 2}
      - projectQuotaCpu: {value: 3}
templateData:
  - team: {value: core}
"""


def parse(text: str) -> ClusterResources:
    return ClusterResources.model_validate(yaml.safe_load(text))


def test_the_block_of_flytes_charts_loads_as_it_is() -> None:
    block = parse(CHARTS)
    assert block.directories == (Path("/etc/flyte/clusterresource/templates"),)
    values = block.read_values()
    assert values.template_data == {"team": TemplateValue("core")}
    assert values.custom_data == {
        "production": {
            "projectQuotaCpu": TemplateValue("5"),
            "projectQuotaMemory": TemplateValue("4000Mi"),
        },
        "staging": {"projectQuotaCpu": TemplateValue("3")},
    }


def test_maps_and_other_spellings_of_keys_are_accepted() -> None:
    block = parse(
        "customdata: {staging: {cpuLimit: {value: 2.5}}}\ntemplatePath:\n"
        "templateData: {t: {valueFrom: {filepath: /x}}}\nrefreshInterval: 60000000000"
    )
    assert block.custom_data["staging"]["cpuLimit"].value == "2.5"
    assert block.template_data["t"].value_from.file_path == "/x"
    assert block.directories == ()


def test_maps_without_content_are_empty() -> None:
    block = parse("templateData:\ncustomData: [{production:}, {staging: {cpu: {value: 1}}}]")
    assert (block.template_data, block.custom_data["production"]) == ({}, {})
    assert block.custom_data["staging"]["cpu"].value == "1"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("templateData: {namespace: {value: x}}", "a name that is not reserved"),
        ("customData: [{staging: [{domain: {value: x}}]}]", "a name that is not reserved"),
        ("templateData: {'a b': {value: x}}", "a name that a placeholder can have"),
        ("templateData: {a: x}", "templateData.a"),
        ("templateData: {a: {value: true}}", "valid string"),
        ("templateData: {a: {valueFrom: {secret: x}}}", "Extra inputs"),
        ("templates: /x", "Extra inputs"),
        ("refreshInterval: 5 minutes", "a duration of Go, such as 5m"),
        ("refreshInterval: true", "valid string"),
    ],
)
def test_what_the_block_cannot_hold_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        parse(text)


def test_variables_of_the_path_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE", "/a")
    monkeypatch.setenv("SET", "b")
    monkeypatch.delenv("UNSET", raising=False)
    assert parse("templatePath: $BASE/${SET}").directories == (Path("/a/b"),)
    with pytest.raises(Invalid, match="a path without \\$UNSET, which is not set"):
        assert parse("templatePath: $UNSET/b").directories


def value_of(source: object) -> TemplateValue:
    block = ClusterResources.model_validate({"templateData": {"a": source}})
    return block.read_values().template_data["a"]


def test_a_value_is_read_from_the_first_source_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    file.write_text("two lines\nof text\n")
    monkeypatch.setenv("A", "from env")
    value_from = {"env": "A", "filePath": str(file)}
    assert value_of({"value": "x", "valueFrom": value_from}) == TemplateValue("x")
    assert value_of({"valueFrom": value_from}) == TemplateValue("from env", is_hidden=True)
    del value_from["env"]
    found = value_of({"valueFrom": value_from})
    assert found == TemplateValue("two lines\nof text", is_hidden=True)
    file.write_text("rotated\r\n")
    assert value_of({"valueFrom": value_from}).text == "rotated"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({}, "templateData.a needs one of value, valueFrom.env, valueFrom.filePath"),
        ({"value": ""}, "templateData.a needs one of"),
        ({"valueFrom": {"env": "UNSET"}}, "templateData.a: the variable UNSET of the environment"),
        ({"valueFrom": {"env": "EMPTY"}}, "the variable EMPTY of the environment is not set or"),
        ({"valueFrom": {"filePath": "fifo"}}, "templateData.a: file fifo is a FIFO; only regular"),
        ({"valueFrom": {"filePath": "missing"}}, "file missing cannot be read: No such file"),
        ({"valueFrom": {"filePath": "empty"}}, "templateData.a: file empty is empty"),
        ({"valueFrom": {"filePath": "large"}}, "file large has more than 1,048,576 bytes"),
        ({"valueFrom": {"filePath": "binary"}}, "file binary is not UTF-8"),
    ],
)
def test_a_source_without_a_value_has_a_problem(
    source: object, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNSET", raising=False)
    monkeypatch.setenv("EMPTY", "")
    os.mkfifo("fifo")
    Path("empty").write_text("\n")
    Path("large").write_text("x" * 1_048_577)
    Path("binary").write_bytes(b"\xff")
    found = value_of(source)
    assert (found.text if found.problem else "", problem in found.problem) == ("", True), found
