"""Attribute files as flytectl writes and reads them."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trimtab import kinds
from trimtab.cli import documents
from trimtab.errors import Invalid, Rejected
from trimtab.levels import Scope

STAGING = Scope("staging", "shop")
CLUSTER = kinds.by_name("cluster_resource")
TASK = kinds.by_name("task_resource")
LABEL = kinds.by_name("execution_cluster_label")

FLYTECTL = {
    "era": (
        "execution_queue",
        "project: flyteexamples\ndomain: production\ntags: [critical, batch]\n",
    ),
    "po": (
        "plugin_override",
        """
project: flyteexamples
domain: development
overrides:
  - task_type: spark
    plugin_id: [my-spark-agent, k8s-spark]
    missing_plugin_behavior: 1
""",
    ),
    "wec": (
        "workflow_execution_config",
        """
project: flyteexamples
domain: development
workflow: core.control_flow.merge_sort.merge_sort
max_parallelism: 5
security_context:
  run_as: {k8s_service_account: demo}
raw_output_data_config: {output_location_prefix: "s3://bucket/raw"}
labels: {values: {team: a}}
annotations: {values: {cost-center: "42"}}
interruptible: {value: true}
overwrite_cache: false
envs: {values: [{key: LOG, value: debug}]}
""",
    ),
}


def file_of(directory: Path, text: str) -> documents.AttributeFile:
    path = directory / "file.yaml"
    path.write_text(text)
    return documents.read(path)


def document_of(directory: Path, text: str, kind: kinds.Kind = TASK) -> dict[str, object]:
    return file_of(directory, text).document(kind, STAGING)


def test_a_file_says_where_and_what(tmp_path: Path) -> None:
    file = file_of(tmp_path, "project: shop\ndomain: staging\nvalue: gpu-pool\n")
    assert file.places == {"project": "shop", "domain": "staging"}
    assert file.document(LABEL, STAGING) == {"value": "gpu-pool"}


def test_a_file_may_be_json(tmp_path: Path) -> None:
    assert document_of(tmp_path, '{"project": "shop", "limits": {"cpu": "2"}}') == {
        "limits": {"cpu": "2"}
    }


def test_unset_paths_are_part_of_a_file(tmp_path: Path) -> None:
    assert document_of(tmp_path, "unset: [limits.gpu]\n") == {"unset": ["limits.gpu"]}


def test_a_project_that_looks_like_a_number_needs_no_quotes(tmp_path: Path) -> None:
    assert file_of(tmp_path, "project: 12\n").places == {"project": "12"}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("Limits: {cpu: '1'}", "Limits"),
        ("limits: {ephemeralStorage: 1Gi}", "limits.ephemeralStorage"),
        ("limits: {cpu: 1}", "limits.cpu"),
        ("limits: {cpu: yes}", "limits.cpu"),
        ("limits: {cpu: null}", "limits.cpu"),
        ("limits:", "limits"),
        ("limits: {cpu: 1X}", "limits.cpu"),
        ("limits: [cpu]", "limits"),
        ("unset: [limits.cup]", "unset"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path: Path, text: str, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        document_of(tmp_path, text)
    assert caught.value.path == f"{tmp_path / 'file.yaml'}: {path}"


def test_a_number_where_text_is_wanted_is_shown_in_quotes(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match='write it in quotes: "2"'):
        document_of(tmp_path, "limits: {cpu: 2}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits: {cpu: '1'", "file.yaml is not YAML in line 1, column"),
        ("project: shop\nproject: other\n", "'project' is given twice"),
        ("attributes: {a: '1', a: '2'}", "'a' is given twice"),
        ("just text", "allowed: a mapping"),
        ("project: [shop]", "project: .* is not valid; allowed: a name"),
        ("a: \x07", "is not YAML"),
    ],
)
def test_what_is_no_attribute_file_is_refused_in_one_line(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(Rejected, match=said) as caught:
        file_of(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named_as_flytectl_does(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"^unable to read from .*none\.yaml yaml file"):
        documents.read(tmp_path / "none.yaml")


def test_an_empty_file_names_no_place(tmp_path: Path) -> None:
    assert file_of(tmp_path, "").places == {}


def test_only_the_first_document_is_read_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = file_of(tmp_path, "project: shop\n---\nproject: other\n")
    assert file.places == {"project": "shop"}
    assert "holds 2 documents" in capsys.readouterr().err


def test_flags_fill_what_the_file_leaves_out(tmp_path: Path) -> None:
    file = file_of(tmp_path, "domain: staging\n")
    given = {"project": "shop", "domain": "", "platform": False}
    assert file.joined(given) == {"project": "shop", "domain": "staging", "platform": False}


def test_a_flag_that_contradicts_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"'staging', as .* says"):
        file_of(tmp_path, "domain: staging\n").joined({"domain": "production"})


def test_one_line_of_json_is_in_the_kinds_order_with_sorted_maps() -> None:
    document = {"attributes": {"b": "<2>", "a": "1"}}
    assert documents.to_json(CLUSTER, STAGING, document) == (
        '{"project":"shop","domain":"staging","attributes":{"a":"1","b":"\\u003c2\\u003e"}}'
    )
    mixed = {"limits": {"cpu": "2"}, "unset": ["limits.gpu"], "defaults": {"cpu": "1"}}
    assert documents.to_json(TASK, Scope("d", "p", "w"), mixed) == (
        '{"project":"p","domain":"d","workflow":"w",'
        '"defaults":{"cpu":"1"},"limits":{"cpu":"2"},"unset":["limits.gpu"]}'
    )


def test_yaml_is_sorted_and_quotes_what_looks_like_something_else() -> None:
    data = {"b": ["x", "1e3"], "a": {"cpu": "1", "memory": "5Ti", "on": "yes", "none": ""}}
    assert documents.to_yaml(data) == (
        'a:\n  cpu: "1"\n  memory: 5Ti\n  none: ""\n  "on": "yes"\nb:\n- x\n- "1e3"\n'
    )


@given(st.dictionaries(st.text(), st.text()))
def test_yaml_reads_back_as_it_was_written(attributes: dict[str, str]) -> None:
    assert yaml.safe_load(documents.to_yaml(attributes)) == attributes


@pytest.mark.parametrize("name", ["era", "po", "wec"])
def test_files_of_flytectl_are_read_and_written_in_its_shape(tmp_path: Path, name: str) -> None:
    noun, text = FLYTECTL[name]
    file, kind = file_of(tmp_path, text), kinds.by_name(noun)
    scope = Scope(**file.places)
    written = documents.flat(kind, scope, file.document(kind, scope))
    assert written == yaml.safe_load(text)
    assert yaml.safe_load(documents.to_json(kind, scope, file.document(kind, scope))) == written


def test_a_deprecated_field_is_taken_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert document_of(tmp_path, "limits: {storage: 1Gi}") == {
        "limits": {"ephemeral_storage": "1Gi"}
    }
    assert "limits.storage is deprecated" in capsys.readouterr().err
