"""Effective values by the rule of Flyte 1, case by case from its source code."""

from typing import Any

import pytest

from trimtab import kinds
from trimtab.errors import Invalid
from trimtab.levels import PLATFORM, SETTINGS_FILE, Scope
from trimtab.messages.events import RecordChanged
from trimtab.settings import flyte
from trimtab.settings.state import Settings

TARGET = Scope("development", "alpha", "train", "nightly")
DOMAIN, PROJECT, PROJECT_DOMAIN, WORKFLOW = TARGET.chain[2:6]

Records = dict[Scope, dict[str, Any]]


def settings(kind: str, records: Records) -> Settings:
    after = Settings()
    for revision, (scope, document) in enumerate(records.items(), start=1):
        after.apply(RecordChanged.at(scope, kind, document), revision)
    return after


def flyte_value(kind: str, records: Records) -> dict[str, Any]:
    return flyte.effective(settings(kind, records), kind, TARGET).document


CPU, MEMORY = {"limits": {"cpu": "1"}}, {"limits": {"memory": "1Gi"}}


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ({}, {}),
        ({SETTINGS_FILE: CPU, PLATFORM: MEMORY}, {"limits": {"cpu": "1", "memory": "1Gi"}}),
        ({SETTINGS_FILE: CPU, PROJECT: MEMORY}, MEMORY),
        ({PROJECT: CPU, PROJECT_DOMAIN: MEMORY}, MEMORY),
        ({PROJECT_DOMAIN: MEMORY, WORKFLOW: CPU}, CPU),
        ({PROJECT: CPU, TARGET: MEMORY}, CPU),
        ({PLATFORM: CPU, DOMAIN: MEMORY}, CPU),
        ({PLATFORM: CPU, PROJECT: {"over_limit": "clamp"}}, CPU),
        # A row of Flyte that has a zero, or nothing: it hides the broader one all the same.
        ({PROJECT: CPU, WORKFLOW: {"unset": ["limits.cpu"]}}, {}),
        ({PROJECT: CPU, WORKFLOW: {}}, {}),
    ],
)
def test_the_narrowest_record_of_task_resources_applies_alone(
    records: Records, expected: Any
) -> None:
    assert flyte_value("task_resource", records) == expected


A, B, C = ({"attributes": {name: name.upper(), "x": name}} for name in "abc")


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ({PLATFORM: A, DOMAIN: B}, {"a": "A", "b": "B", "x": "b"}),
        ({PLATFORM: A, PROJECT: B}, {"a": "A", "b": "B", "x": "b"}),
        ({DOMAIN: A, PROJECT: B, PROJECT_DOMAIN: C}, {"a": "A", "c": "C", "x": "c"}),
        ({PLATFORM: A, DOMAIN: {**B, "unset": ["attributes"]}}, {"b": "B", "x": "b"}),
    ],
)
def test_cluster_resources_are_merged_over_the_configuration(
    records: Records, expected: Any
) -> None:
    assert flyte_value("cluster_resource", records) == {"attributes": expected}


SPARK = {"overrides": {"spark": {"plugin_id": ["a"]}}}
RAY = {"overrides": {"ray": {"plugin_id": ["b"]}}}


@pytest.mark.parametrize(
    ("kind", "records", "expected"),
    [
        ("plugin_override", {PROJECT_DOMAIN: SPARK, WORKFLOW: RAY}, RAY),
        ("plugin_override", {PROJECT: SPARK}, {}),
        ("plugin_override", {PLATFORM: SPARK}, {}),
        ("execution_queue", {DOMAIN: {"tags": ["d"]}, PLATFORM: {"tags": ["p"]}}, {"tags": ["d"]}),
        ("execution_queue", {DOMAIN: {"tags": ["d"]}, WORKFLOW: {"tags": ["w"]}}, {"tags": ["w"]}),
        ("execution_cluster_label", {PLATFORM: {"value": "p"}}, {"value": "p"}),
        ("cluster_assignment", {WORKFLOW: {"cluster_pool_name": "w"}}, {}),
        (
            "cluster_assignment",
            {DOMAIN: {"cluster_pool_name": "d"}},
            {"cluster_pool_name": "d"},
        ),
        ("quality_of_service", {PROJECT: {"tier": "HIGH"}}, {}),
    ],
)
def test_other_kinds_are_read_at_the_levels_that_flyte_reads(
    kind: str, records: Records, expected: Any
) -> None:
    assert flyte_value(kind, records) == expected


IDENTITY = {"security_context": {"run_as": {"k8s_service_account": "demo"}}}
SECRETS = {"security_context": {"secrets": [{"group": "db"}]}}


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        (
            {PROJECT: {"max_parallelism": 1}, PROJECT_DOMAIN: {"interruptible": False}},
            {"max_parallelism": 1, "interruptible": False},
        ),
        (
            {PROJECT_DOMAIN: {"max_parallelism": 1}, WORKFLOW: {"interruptible": False}},
            {"interruptible": False},
        ),
        ({PROJECT: {"labels": {"a": "1"}}, WORKFLOW: {"labels": {"b": "2"}}},
         {"labels": {"b": "2"}}),
        ({PROJECT: {"labels": {"a": "1"}}, WORKFLOW: {"unset": ["labels"], "labels": {"b": "2"}}},
         {"labels": {"b": "2"}}),
        ({PLATFORM: {"envs": {"A": "1"}}, WORKFLOW: {"max_parallelism": 2}},
         {"envs": {"A": "1"}, "max_parallelism": 2}),
        ({PROJECT: {"overwrite_cache": True}, WORKFLOW: {"overwrite_cache": False}},
         {"overwrite_cache": True}),
        ({PROJECT: {"overwrite_cache": False}}, {"overwrite_cache": False}),
        ({PLATFORM: {"interruptible": False}}, {}),
        ({PLATFORM: {"interruptible": True}}, {"interruptible": True}),
        ({PROJECT: IDENTITY, WORKFLOW: SECRETS}, SECRETS),
        ({PROJECT: SECRETS, WORKFLOW: {"max_parallelism": 2}}, {"max_parallelism": 2}),
        ({PLATFORM: IDENTITY, PROJECT: {"max_parallelism": 2}}, {**IDENTITY, "max_parallelism": 2}),
        ({PROJECT: {"execution_env_assignments": [
            {"execution_env": {"name": "n", "type": "t"}}]}}, {}),
    ],
)  # fmt: skip
def test_execution_configs_are_completed_field_by_field(records: Records, expected: Any) -> None:
    assert flyte_value("workflow_execution_config", records) == expected


def test_a_value_has_its_provenance() -> None:
    records: Records = {PROJECT: CPU, PROJECT_DOMAIN: MEMORY}
    found = flyte.effective(settings("task_resource", records), "task_resource", TARGET)
    [(path, leaf)] = found.leaves.items()
    assert (path, leaf.scope, leaf.revision) == ("limits.memory", PROJECT_DOMAIN, 2)


def test_exactly_the_kinds_of_flyte_have_its_rule() -> None:
    for kind in kinds.registered().values():
        if kind.flyte is not None:
            assert flyte.effective(Settings(), kind.name, TARGET).document == {}
        else:
            with pytest.raises(Invalid, match="a kind that Flyte 1 has: task_resource"):
                flyte.effective(Settings(), kind.name, TARGET)
