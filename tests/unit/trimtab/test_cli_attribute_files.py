"""Attribute files in flytectl's format, and the diff that `update` shows."""

import io
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trimtab import kinds
from trimtab.cli import attribute_files
from trimtab.cli.commands import Failure
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


def file_of(directory: Path, text: str) -> attribute_files.AttributeFile:
    path = directory / "file.yaml"
    path.write_text(text)
    return attribute_files.read(path, domain_wide=False)


def document_of(directory: Path, text: str, kind: kinds.Kind = TASK) -> dict[str, object]:
    return file_of(directory, text).document(kind, STAGING)


def test_a_file_has_a_scope_and_fields(tmp_path: Path) -> None:
    file = file_of(tmp_path, "project: shop\ndomain: staging\nvalue: gpu-pool\n")
    assert file.scope_parts == {"project": "shop", "domain": "staging"}
    assert file.document(LABEL, STAGING) == {"value": "gpu-pool"}


def test_a_file_may_be_json(tmp_path: Path) -> None:
    assert document_of(tmp_path, '{"project": "shop", "limits": {"cpu": "2"}}') == {
        "limits": {"cpu": "2"}
    }


def test_unset_paths_are_part_of_a_file(tmp_path: Path) -> None:
    assert document_of(tmp_path, "unset: [limits.gpu]\n") == {"unset": ["limits.gpu"]}


def test_a_project_that_looks_like_a_number_needs_no_quotes(tmp_path: Path) -> None:
    assert file_of(tmp_path, "project: 12\n").scope_parts == {"project": "12"}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("limitz: {cpu: '1'}", "limitz"),
        ("limits: {ephemeralStorage: 1Gi}", "limits.ephemeralStorage"),
        ("limits: {cpu: 1}", "limits.cpu"),
        ("limits: {cpu: yes}", "limits.cpu"),
        ("limits: {cup: null}", "limits.cup"),
        ("limits: {cpu: '1'}\nLimits: {gpu: '1'}", "limits"),
        ("limits: {cpu: 1X}", "limits.cpu"),
        ("limits: [cpu]", "limits"),
        ("unset: [limits.cup]", "unset"),
    ],
)
def test_the_error_for_a_wrong_field_names_the_file_and_the_field(
    tmp_path: Path, text: str, path: str
) -> None:
    with pytest.raises(Invalid) as caught:
        document_of(tmp_path, text)
    assert caught.value.path == f"{tmp_path / 'file.yaml'}: {path}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Project: shop\nDOMAIN: staging\nWorkFlow: w\n", ["shop", "staging", "w"]),
        ('project: shop\ndomain: ""\n', ["shop"]),
        ("project: 0\ndomain: staging\n", ["0", "staging"]),
    ],
)
def test_keys_of_the_scope_have_any_letter_case(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    assert list(file_of(tmp_path, text).scope_parts.values()) == parts


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("project:\ndomain: staging\n", "project: null .* --domain-wide accepts an empty one"),
        ('project: ""\ndomain: staging\n', "project: '' .* --domain-wide accepts an empty one"),
        ("project: shop\ndomain:\n", "domain: null .* leave the key out"),
        ("project: shop\ndomain: staging\nworkflow:\n", "workflow: null .* leave the key out"),
        ('project: shop\ndomain: staging\nworkflow: ""\n', "workflow: '' .* leave the key out"),
        (
            "project: shop\ndomain: staging\nworkflow: w\nlaunch_plan:\n",
            "launch_plan: null .* leave the key out",
        ),
        ("project:\n", "project: null is not valid"),
        ("project: shop\nProject: other\n", "project: 'Project' .* one spelling of the key"),
        ("project: []\ndomain: staging\n", "a name"),
    ],
)
def test_an_empty_key_does_not_make_the_scope_of_a_file_broader(
    tmp_path: Path, text: str, allowed: str
) -> None:
    with pytest.raises(Invalid, match=f"file.yaml: .*{allowed}"):
        file_of(tmp_path, text)


def test_an_empty_project_is_accepted_for_the_whole_domain(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("project:\ndomain: staging\n")
    assert attribute_files.read(path, domain_wide=True).scope_parts == {"domain": "staging"}


@pytest.mark.parametrize(
    ("noun", "text", "document"),
    [
        (
            "workflow_execution_config",
            """
MAX_Parallelism: 5.0
Labels: {Values: {Team: a, owner: null}}
INTERRUPTIBLE: {Value: true}
Envs: {Values: [{Key: LOG, VALUE: null}]}
Security_Context: {Run_As: {K8s_Service_Account: demo, iam_role: null}}
raw_output_data_config: null
""",
            {
                "max_parallelism": 5,
                "labels": {"Team": "a", "owner": ""},
                "interruptible": True,
                "envs": {"LOG": ""},
                "security_context": {"run_as": {"k8s_service_account": "demo"}},
            },
        ),
        ("workflow_execution_config", "labels: {Values: x}", {"labels": {"Values": "x"}}),
        ("workflow_execution_config", "labels: {values: null}", {}),
        (
            "workflow_execution_config",
            "execution_env_assignments: [{Execution_Env: {Name: a, type: b, Spec: {Own: 5.0}}}]",
            {
                "execution_env_assignments": [
                    {"execution_env": {"name": "a", "type": "b", "spec": {"Own": 5.0}}}
                ]
            },
        ),
        (
            "plugin_override",
            "Overrides: [{Task_Type: Spark, Plugin_ID: [a], missing_plugin_behavior: 1.0}]",
            {
                "overrides": {
                    "Spark": {"plugin_id": ["a"], "missing_plugin_behavior": "USE_DEFAULT"}
                }
            },
        ),
        ("quality_of_service", "Spec: {Queueing_Budget: 600s}", {"queueing_budget": "600s"}),
        ("quality_of_service", "Tier: 3.0", {"tier": "LOW"}),
        ("cluster_resource", "Attributes: {A: null, a: ''}", {"attributes": {"A": "", "a": ""}}),
        ("cluster_resource", "attributes:", {}),
        ("task_resource", "limits: {Storage: 1Gi}", {"limits": {"ephemeral_storage": "1Gi"}}),
        ("task_resource", "defaults:\nlimits: {cpu: null, gpu: '1'}", {"limits": {"gpu": "1"}}),
    ],
)
def test_fields_are_read_as_flytectl_reads_them(
    tmp_path: Path, noun: str, text: str, document: dict[str, object]
) -> None:
    kind = kinds.by_name(noun)
    assert file_of(tmp_path, text).document(kind, Scope("staging", "shop")) == document


@pytest.mark.parametrize("text", ["max_parallelism: 5.5", "max_parallelism: '5'"])
def test_only_a_whole_number_is_an_integer(tmp_path: Path, text: str) -> None:
    with pytest.raises(Invalid, match="max_parallelism"):
        document_of(tmp_path, text, kinds.by_name("workflow_execution_config"))


def test_the_error_for_a_number_instead_of_text_shows_it_in_quotes(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r'write it in quotes: "2\.0"'):
        document_of(tmp_path, "limits: {cpu: 2.0}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("limits: {cpu: '1'", "file.yaml is not YAML in line 1, column"),
        ("project: shop\nproject: other\n", "'project' is given twice"),
        ("attributes: {a: '1', a: '2'}", "'a' is given twice"),
        ("just text", "allowed: a mapping"),
        ("project: [shop]", "project: .* is not valid; allowed: a name"),
        ("a: \x07", "is not YAML"),
    ],
)
def test_a_file_that_is_not_an_attribute_file_is_rejected_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(Rejected, match=message) as caught:
        file_of(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_the_error_for_a_missing_file_is_flytectls(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    with pytest.raises(Rejected) as caught:
        attribute_files.read(path, domain_wide=False)
    assert str(caught.value).splitlines() == [
        f"unable to read from {path} yaml file",
        f"{path}: No such file or directory",
    ]


def test_an_empty_file_has_no_scope(tmp_path: Path) -> None:
    assert file_of(tmp_path, "").scope_parts == {}


def test_documents_after_the_first_are_ignored_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = file_of(tmp_path, "project: shop\n---\nproject: other\n")
    assert file.scope_parts == {"project": "shop"}
    assert "holds 2 documents" in capsys.readouterr().err


def test_flags_set_scope_parts_that_the_file_does_not_set(tmp_path: Path) -> None:
    file = file_of(tmp_path, "domain: staging\n")
    flags = {"project": "shop", "domain": "", "platform": False}
    assert file.merge_flags(flags) == {"project": "shop", "domain": "staging", "platform": False}


@pytest.mark.parametrize(
    ("text", "flags", "scope", "ignored"),
    [
        (
            "project: shop\ndomain: staging\n",
            {"project": "other", "domain": "production", "workflow": "w"},
            {"project": "shop", "domain": "staging"},
            "project 'other', domain 'production', workflow 'w'",
        ),
        ("project: shop\n", {"domain": "staging"}, {"project": "shop"}, "domain 'staging'"),
        ("project: shop\n", {"project": "shop"}, {"project": "shop"}, ""),
        (
            "domain: staging\n",
            {"project": "shop", "domain": "production"},
            {"project": "shop", "domain": "staging"},
            "domain 'production'",
        ),
    ],
)
def test_the_file_has_priority_over_flags_with_a_warning(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    flags: dict[str, str],
    scope: dict[str, str],
    ignored: str,
) -> None:
    merged = file_of(tmp_path, text).merge_flags(flags)
    assert {name: part for name, part in merged.items() if part} == scope
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: {ignored} of the command line is ignored: ") == (
        ignored != ""
    )


def test_standard_input_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("project: shop\nvalue: gpu-pool\n"))
    file = attribute_files.read(attribute_files.STDIN, domain_wide=False)
    assert (file.name, file.scope_parts) == ("standard input", {"project": "shop"})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("limits: {cpu: '1'}\nbogus: 1\nalpha: 2\n", "alpha"),
        ("defaults: {ephemeralStorage: 1Gi}\n", "ephemeralStorage"),
    ],
)
def test_the_first_unknown_field_is_reported_with_the_text_of_flytectl(
    tmp_path: Path, text: str, name: str
) -> None:
    with pytest.raises(Failure) as caught:
        file_of(tmp_path, text).flytectl_document(TASK, STAGING)
    first, second = str(caught.value).splitlines()
    assert first == (f'error unmarshaling JSON: while decoding JSON: json: unknown field "{name}"')
    assert second.startswith(f"{tmp_path / 'file.yaml'}: ")


def test_json_has_the_field_order_of_the_kind_and_sorted_maps() -> None:
    document = {"attributes": {"b": "<2>", "a": "1"}}
    assert attribute_files.to_json(CLUSTER, STAGING, document) == (
        '{"project":"shop","domain":"staging","attributes":{"a":"1","b":"\\u003c2\\u003e"}}'
    )
    mixed = {"limits": {"cpu": "2"}, "unset": ["limits.gpu"], "defaults": {"cpu": "1"}}
    assert attribute_files.to_json(TASK, Scope("d", "p", "w"), mixed) == (
        '{"project":"p","domain":"d","workflow":"w",'
        '"defaults":{"cpu":"1"},"limits":{"cpu":"2"},"unset":["limits.gpu"]}'
    )


def test_yaml_is_sorted_and_quotes_texts_that_look_like_another_type() -> None:
    data = {"b": ["x", "1e3", "y"], "a": {"cpu": "1", "memory": "5Ti", "on": "yes", "none": ""}}
    assert attribute_files.to_yaml(data) == (
        'a:\n  cpu: "1"\n  memory: 5Ti\n  none: ""\n  "on": "yes"\nb:\n- x\n- "1e3"\n- "y"\n'
    )


@given(st.dictionaries(st.text(), st.text()))
def test_yaml_round_trips(attributes: dict[str, str]) -> None:
    assert yaml.safe_load(attribute_files.to_yaml(attributes)) == attributes


@pytest.mark.parametrize("name", ["era", "po", "wec"])
def test_flytectls_files_round_trip(tmp_path: Path, name: str) -> None:
    noun, text = FLYTECTL[name]
    file, kind = file_of(tmp_path, text), kinds.by_name(noun)
    scope = Scope(**file.scope_parts)
    written = attribute_files.to_content(kind, scope, file.document(kind, scope))
    assert written == yaml.safe_load(text)
    assert (
        yaml.safe_load(attribute_files.to_json(kind, scope, file.document(kind, scope))) == written
    )


def test_a_deprecated_field_is_accepted_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert document_of(tmp_path, "limits: {storage: 1Gi}") == {
        "limits": {"ephemeral_storage": "1Gi"}
    }
    assert "limits.storage is deprecated" in capsys.readouterr().err


def test_a_repeated_tag_is_accepted_once_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = kinds.by_name("execution_queue")
    assert document_of(tmp_path, "tags: [a, b, a]\n", queue) == {"tags": ["a", "b"]}
    assert "tags: 'a' is listed 2 times and counts once" in capsys.readouterr().err
