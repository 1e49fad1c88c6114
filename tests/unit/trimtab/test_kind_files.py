"""Attribute files are read in Flyte's shape and in ours, and are written in Flyte's."""

import json
from typing import Any

import pytest
import yaml

from tests.unit.trimtab.test_wire import RECORDS
from trimtab import kinds
from trimtab.errors import Invalid
from trimtab.levels import PLATFORM

FLYTE = {
    "execution_queue": "tags: [critical, batch]",
    "plugin_override": """
overrides:
  - task_type: spark
    plugin_id: [my-spark-agent, k8s-spark]
    missing_plugin_behavior: 1
""",
    "workflow_execution_config": """
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
    "quality_of_service": "spec: {queueing_budget: 600s}",
    "cluster_assignment": "cluster_pool_name: gpus",
    "execution_cluster_label": "value: mycluster",
}
OURS: dict[str, Any] = {
    "execution_queue": {"tags": ["critical", "batch"]},
    "plugin_override": {
        "overrides": {
            "spark": {
                "plugin_id": ["my-spark-agent", "k8s-spark"],
                "missing_plugin_behavior": "USE_DEFAULT",
            }
        }
    },
    "workflow_execution_config": {
        "max_parallelism": 5,
        "security_context": {"run_as": {"k8s_service_account": "demo"}},
        "raw_output_data_config": {"output_location_prefix": "s3://bucket/raw"},
        "labels": {"team": "a"},
        "annotations": {"cost-center": "42"},
        "interruptible": True,
        "overwrite_cache": False,
        "envs": {"LOG": "debug"},
    },
    "quality_of_service": {"queueing_budget": "600s"},
    "cluster_assignment": {"cluster_pool_name": "gpus"},
    "execution_cluster_label": {"value": "mycluster"},
}


@pytest.mark.parametrize("name", FLYTE)
def test_a_file_of_flyte_is_read_and_written_back_unchanged(name: str) -> None:
    kind, fields = kinds.by_name(name), yaml.safe_load(FLYTE[name])
    document = kind.to_document(kind.parse(kind.from_file(fields), PLATFORM))
    assert document == OURS[name]
    assert kind.to_file(document) == fields


def test_numbers_of_flyte_are_written_and_0_is_left_out_where_it_is_the_default() -> None:
    plugin, config = kinds.by_name("plugin_override"), kinds.by_name("workflow_execution_config")
    entry = {"plugin_id": ["a"], "missing_plugin_behavior": "FAIL"}
    assert plugin.to_file({"overrides": {"t": entry}}) == {
        "overrides": [{"task_type": "t", "plugin_id": ["a"]}]
    }
    secret = {"group": "g", "mount_requirement": "FILE"}
    context = config.to_file({"security_context": {"secrets": [secret]}})["security_context"]
    assert context == {"secrets": [{"group": "g", "mount_requirement": 2}]}


@pytest.mark.parametrize("name", RECORDS)
def test_a_file_in_our_own_shape_is_read(name: str) -> None:
    kind, document = kinds.by_name(name), json.loads(json.dumps(RECORDS[name]))
    assert kind.from_file(document) == document
    assert kind.from_file(kind.to_file(document)) == document


@pytest.mark.parametrize(
    ("name", "fields", "document"),
    [
        (
            "plugin_override",
            {"overrides": [{"task_type": "ray", "missing_plugin_behavior": 0}]},
            {"overrides": {"ray": {"missing_plugin_behavior": "FAIL"}}},
        ),
        (
            "workflow_execution_config",
            {"security_context": {"secrets": [{"group": "g", "mount_requirement": 1}]}},
            {"security_context": {"secrets": [{"group": "g", "mount_requirement": "ENV_VAR"}]}},
        ),
        ("quality_of_service", {"tier": 3}, {"tier": "LOW"}),
        ("workflow_execution_config", {"labels": {"values": "x"}}, {"labels": {"values": "x"}}),
        ("workflow_execution_config", {"envs": {"values": "x"}}, {"envs": {"values": "x"}}),
        ("workflow_execution_config", {"unset": ["labels.team"]}, {"unset": ["labels.team"]}),
    ],
)
def test_a_file_is_converted_into_a_document(
    name: str, fields: dict[str, Any], document: dict[str, Any]
) -> None:
    kind = kinds.by_name(name)
    assert kind.to_document(kind.parse(kind.from_file(fields), PLATFORM)) == document


@pytest.mark.parametrize(
    ("name", "fields", "path", "allowed"),
    [
        ("plugin_override", {"overrides": ["spark"]}, "overrides.0", "a task_type"),
        (
            "plugin_override",
            {"overrides": [{"taskType": "spark"}]},
            "overrides.0.taskType",
            "task_type",
        ),
        (
            "plugin_override",
            {"overrides": [{"task_type": "a"}, {"task_type": "a"}]},
            "overrides.1.task_type",
            "each task_type once",
        ),
        (
            "plugin_override",
            {"overrides": [{"task_type": "a", "missing_plugin_behavior": 2}]},
            "overrides.a.missing_plugin_behavior",
            "'FAIL' or 'USE_DEFAULT'",
        ),
        ("plugin_override", {"overrides": "spark"}, "overrides", "an object"),
        (
            "workflow_execution_config",
            {"envs": {"values": [{"key": "LOG"}]}},
            "envs.values.LOG",
            "a key and a value",
        ),
        ("workflow_execution_config", {"labels": {"values": ["a"]}}, "labels", "an object"),
        ("quality_of_service", {"tier": 0}, "tier", "'HIGH'"),
        ("quality_of_service", {"tier": True}, "tier", "'HIGH'"),
        ("quality_of_service", {"spec": {"budget": "1s"}}, "spec", "queueing_budget"),
    ],
)
def test_a_file_without_a_meaning_is_refused_with_the_path(
    name: str, fields: dict[str, Any], path: str, allowed: str
) -> None:
    kind = kinds.by_name(name)
    with pytest.raises(Invalid) as refused:
        kind.parse(kind.from_file(fields), PLATFORM)
    assert refused.value.path == path
    assert allowed in refused.value.allowed


@pytest.mark.parametrize("name", RECORDS)
def test_no_shape_of_a_field_makes_a_conversion_raise_another_error(name: str) -> None:
    kind = kinds.by_name(name)
    for value in (None, 1, True, "x", [], [1], {}, {"values": None}, {"value": []}):
        fields = dict.fromkeys([*RECORDS[name], "spec", "tier"], value)
        with pytest.raises(Invalid):
            kind.parse(kind.from_file(fields) | {"colour": "red"}, PLATFORM)
