"""Every registration is complete, and wrong documents are refused with path and allowed values."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trimtab import kinds
from trimtab.cli.diffs import unified_diff
from trimtab.errors import Invalid, NotFound
from trimtab.kinds import Kind, forms
from trimtab.kinds.flyte import FlyteMerge
from trimtab.levels import PLATFORM, SETTINGS_FILE, Level, Scope
from trimtab.settings.flyte import MERGES

WIRE = Path(__file__).parent / "wire"
EVERY_KIND = pytest.mark.parametrize("kind", kinds.registered().values(), ids=lambda k: k.name)

DOMAIN = Scope(domain="development")
WORKFLOW = Scope("development", "alpha", "train")


def golden(kind: Kind) -> dict[str, Any]:
    event = json.loads((WIRE / f"record_changed.{kind.name}.json").read_text())
    document = event["document"]
    assert isinstance(document, dict)
    return document


@EVERY_KIND
def test_every_kind_has_the_texts_and_levels_that_its_interfaces_need(kind: Kind) -> None:
    assert kinds.by_name(kind.name) is kind
    assert kind.name.replace("_", "").isalnum()
    assert kind.noun.replace("-", "").isalnum()
    assert kind.summary
    assert kind.value.__doc__
    assert kind.levels
    assert Level.SETTINGS not in kind.levels
    assert not kind.levels & kind.refused_levels.keys()


@EVERY_KIND
def test_every_field_of_a_kind_is_optional_and_described(kind: Kind) -> None:
    schema = kind.value.model_json_schema()
    assert "required" not in schema
    assert all("description" in field for field in schema["properties"].values())
    assert kind.value().model_dump(exclude_unset=True) == {}


@EVERY_KIND
def test_the_golden_document_of_a_kind_sets_every_field_and_is_stored_unchanged(kind: Kind) -> None:
    document = golden(kind)
    flat = kind.schema.flatten(document)
    used = {kind.schema.map_of(path) or path for path in flat} | kind.implied_unset(document)
    assert used == kind.schema.leaves | kind.schema.maps.keys()
    assert kind.to_document(kind.parse(document, PLATFORM)) == document
    assert kind.schema.nest(flat) == document


@EVERY_KIND
def test_every_kind_refuses_an_unknown_field(kind: Kind) -> None:
    with pytest.raises(Invalid) as refused:
        kind.parse({"colour": "red"}, PLATFORM)
    assert refused.value.path == "colour"
    assert next(iter(kind.value.model_fields)) in ["unset", *refused.value.allowed.split()]


@EVERY_KIND
def test_every_kind_is_accepted_in_the_settings_file(kind: Kind) -> None:
    in_file, at_platform = (kind.parse(golden(kind), scope) for scope in (SETTINGS_FILE, PLATFORM))
    assert in_file == at_platform


@EVERY_KIND
def test_every_kind_has_a_sample_that_its_file_and_a_record_can_have(kind: Kind) -> None:
    sample = forms.sample(kind)
    assert sample
    assert kind.to_document(kind.parse(sample, PLATFORM)) == sample
    assert kind.from_file(kind.to_file(sample)) == sample


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("execution_queue", {"tags": ["value"]}),
        ("cluster_resource", {"attributes": {"key": "value"}}),
        ("quality_of_service", {"tier": "HIGH"}),
    ],
)
def test_a_kind_without_a_sample_gets_one_from_its_fields(
    name: str, sample: dict[str, Any]
) -> None:
    kind = replace(kinds.by_name(name), sample={})
    assert forms.sample(kind) == sample
    assert kind.to_document(kind.parse(sample, PLATFORM)) == sample


def test_an_update_of_most_kinds_replaces_the_document() -> None:
    kind = kinds.by_name("execution_queue")
    assert kind.update({"tags": ["a"], "unset": []}, {"unset": ["tags"]}) == {"unset": ["tags"]}


A, B, C = ({"plugin_id": [name]} for name in "abc")


@pytest.mark.parametrize(
    ("stored", "document", "updated"),
    [
        ({}, {"overrides": {"t": A}}, {"overrides": {"t": A}}),
        ({"overrides": {"t": A, "u": B}}, {"overrides": {"t": C}}, {"overrides": {"t": C, "u": B}}),
        (
            {"overrides": {"t": {**A, "missing_plugin_behavior": "FAIL"}}},
            {"overrides": {"t": B}},
            {"overrides": {"t": B}},
        ),
        (
            {"overrides": {"t": A, "t.x": B}},
            {"unset": ["overrides.t"]},
            {"overrides": {"t.x": B}, "unset": ["overrides.t"]},
        ),
        (
            {"unset": ["overrides.t", "overrides.u"]},
            {"overrides": {"t": A}},
            {"overrides": {"t": A}, "unset": ["overrides.u"]},
        ),
        (
            {"overrides": {"t": A}, "unset": ["overrides.u"]},
            {"overrides": {"v": B}, "unset": ["overrides"]},
            {"overrides": {"v": B}, "unset": ["overrides"]},
        ),
        ({"unset": ["overrides"]}, {"unset": ["overrides.t"]}, {"unset": ["overrides"]}),
    ],
)
def test_an_update_of_plugin_overrides_merges_them_by_type_of_task(
    stored: dict[str, Any], document: dict[str, Any], updated: dict[str, Any]
) -> None:
    kind = kinds.by_name("plugin_override")
    assert kind.update(stored, document) == updated
    assert kind.to_document(kind.parse(updated, PLATFORM)) == updated


def test_nouns_and_numbers_of_kinds_are_unique() -> None:
    registered = list(kinds.registered().values())
    numbers = [kind.flyte.number for kind in registered if kind.flyte is not None]
    assert len({kind.noun for kind in registered}) == len(registered)
    assert len(set(numbers)) == len(numbers)


def test_every_kind_of_flyte_has_a_number_a_title_and_a_rule() -> None:
    by_number = {kind.flyte.number: kind for kind in kinds.registered().values() if kind.flyte}
    assert sorted(by_number) == list(range(8))
    for kind in by_number.values():
        assert kind.flyte
        assert kind.flyte.message.isalpha()
        assert unified_diff(kind, None, {}).count(f"+{kind.flyte.message}:") == 1
        assert kind.flyte.merge in MERGES
        assert kind.flyte.native_fields <= kind.value.model_fields.keys()
    assert MERGES.keys() == set(FlyteMerge)


def test_an_unknown_kind_is_refused_with_the_names_of_all_kinds() -> None:
    with pytest.raises(NotFound, match=r"kind 'colour' does not exist; there are: task_resource, "):
        kinds.by_name("colour")


@pytest.mark.parametrize(
    ("kind", "document", "path", "allowed"),
    [
        ("task_resource", [], "task_resource", "an object with the fields of the kind"),
        ("task_resource", {"defaults": {"cpu": 1}}, "defaults.cpu", "a string"),
        ("task_resource", {"defaults": {"cpu": "x"}}, "defaults.cpu", "500m"),
        ("task_resource", {"limits": {"memory": "-1"}}, "limits.memory", "not negative"),
        ("task_resource", {"limits": {"gpu": "1500m"}}, "limits.gpu", "whole number"),
        ("task_resource", {"limits": {"ram": "1"}}, "limits.ram", "limits.memory"),
        ("task_resource", {"limits": None}, "limits", "unset"),
        ("task_resource", {"limits": {"cpu": None}}, "limits.cpu", "unset"),
        ("task_resource", {"over_limit": "ignore"}, "over_limit", "'refuse' or 'clamp'"),
        (
            "task_resource",
            {"mirror_limits_request": "yes"},
            "mirror_limits_request",
            "true or false",
        ),
        ("task_resource", {"unset": None}, "unset", "a value"),
        ("task_resource", {"unset": "limits"}, "unset", "a list"),
        ("task_resource", {"unset": ["limits.ram"]}, "unset", "limits.memory"),
        ("task_resource", {"unset": ["limits", "limits.cpu"]}, "unset", "inside another"),
        ("task_resource", {"unset": ["limits.cpu", "limits.cpu"]}, "unset", "once"),
        ("task_resource", {"unset": ["limits"], "limits": {"cpu": "1"}}, "unset", "no value"),
        ("task_resource", {"unset": ["over_limit"], "over_limit": "clamp"}, "unset", "of a map"),
        (
            "cluster_resource",
            {"unset": ["attributes.a"], "attributes": {"a": "1"}},
            "unset",
            "no value",
        ),
        (
            "cluster_resource",
            {"unset": ["attributes", "attributes.a"], "attributes": {"b": "1"}},
            "unset",
            "inside another",
        ),
        ("cluster_resource", {"attributes": {"project": "x"}}, "attributes.project", "namespace"),
        ("cluster_resource", {"attributes": {"quota": 5}}, "attributes.quota", "a string"),
        (
            "cluster_resource",
            {"attributes": {"a b": "5"}},
            "attributes.a b",
            "a placeholder can have",
        ),
        ("cluster_resource", {"attributes": {"{{a}}": "5"}}, "attributes.{{a}}", "no blank"),
        ("cluster_resource", {"attributes": {"": "5"}}, "attributes.", "at least 1 character"),
        ("cluster_resource", {"unset": ["attributes."]}, "unset", "attributes"),
        ("cluster_resource", {"unset": [["attributes", ""]]}, "unset.0", "list of its keys"),
        ("cluster_resource", {"unset": [["attributes", "a", "b"]]}, "unset.0", "list of its keys"),
        ("task_resource", {"unset": ["limits", ["limits.cpu"]]}, "unset.1", "list of its keys"),
        ("task_resource", {"unset": [[]]}, "unset.0", "list of its keys"),
        ("task_resource", {"unset": [5]}, "unset.0", "list of its keys"),
        ("execution_cluster_label", {"value": ""}, "value", "at least 1 character"),
        ("task_resource", {"limits": {"storage": "x"}}, "limits.ephemeral_storage", "500m"),
        (
            "task_resource",
            {"limits": {"storage": "1", "ephemeral_storage": "1"}},
            "limits.storage",
            "only limits.ephemeral_storage",
        ),
        ("execution_queue", {"tags": "critical"}, "tags", "a list"),
        ("execution_queue", {"tags": [""]}, "tags.0", "at least 1 character"),
        ("quality_of_service", {"tier": "BEST"}, "tier", "'HIGH', 'MEDIUM' or 'LOW'"),
        ("quality_of_service", {"queueing_budget": "10m"}, "queueing_budget", "600s"),
        ("quality_of_service", {"queueing_budget": "-1s"}, "queueing_budget", "600s"),
        ("quality_of_service", {"queueing_budget": ".5s"}, "queueing_budget", "600s"),
        ("quality_of_service", {"queueing_budget": "s"}, "queueing_budget", "600s"),
        ("quality_of_service", {"queueing_budget": "9" * 12 + "s"}, "queueing_budget", "years"),
        (
            "quality_of_service",
            {"tier": "LOW", "queueing_budget": "1s"},
            "tier",
            "only one of queueing_budget, tier",
        ),
        (
            "plugin_override",
            {"overrides": {"spark": {"plugin_ids": ["a"]}}},
            "overrides.spark.plugin_ids",
            "overrides.spark.plugin_id",
        ),
        ("plugin_override", {"overrides": {"a b": {}}}, "overrides.a b", "pattern"),
        ("plugin_override", {"unset": ["overrides.a b"]}, "unset", "pattern"),
        ("plugin_override", {"overrides": {"a": None}}, "overrides.a", "unset"),
        ("workflow_execution_config", {"max_parallelism": 0}, "max_parallelism", "at least 1"),
        ("workflow_execution_config", {"labels": {"-": "a"}}, "labels.-", "at most 63"),
        ("workflow_execution_config", {"labels": {"a": "/"}}, "labels.a", "at most 63"),
        ("workflow_execution_config", {"labels": {"a": 1}}, "labels.a", "a string"),
        ("workflow_execution_config", {"annotations": {"a b": ""}}, "annotations.a b", "63"),
        ("workflow_execution_config", {"envs": {"A=B": ""}}, "envs.A=B", "letters"),
        (
            "workflow_execution_config",
            {"security_context": {"secrets": [{"group": "a", "mount": "FILE"}]}},
            "security_context.secrets.0.mount",
            "security_context.secrets.0.mount_requirement",
        ),
        (
            "workflow_execution_config",
            {"security_context": {"run_as": {"k8s_service_account": "A"}}},
            "security_context.run_as.k8s_service_account",
            "small letters",
        ),
        (
            "workflow_execution_config",
            {
                "execution_env_assignments": [
                    {"execution_env": {"name": "a", "type": "b", "extant": {}, "spec": {}}}
                ]
            },
            "execution_env_assignments.0.execution_env",
            "only one of extant, spec",
        ),
        ("workflow_execution_config", {"interruptible": 1}, "interruptible", "true or false"),
        ("workflow_priority", {"priority": 1001}, "priority", "1000"),
        ("workflow_priority", {"priority": "5"}, "priority", "integer"),
        ("workflow_priority", {"priority": True}, "priority", "integer"),
    ],
)
def test_a_wrong_document_is_refused_with_the_path_and_what_is_allowed(
    kind: str, document: object, path: str, allowed: str
) -> None:
    with pytest.raises(Invalid) as refused:
        kinds.by_name(kind).parse(document, PLATFORM)
    assert refused.value.path == path
    assert allowed in refused.value.allowed


def test_a_level_that_a_kind_does_not_have_is_refused_with_the_reason() -> None:
    kind = kinds.by_name("cluster_resource")
    with pytest.raises(Invalid, match=r"'workflow' is not valid.*namespaces belong to a project"):
        kind.parse({"attributes": {"quota": "5"}}, WORKFLOW)


@pytest.mark.parametrize("document", [{"ceiling": {"cpu": "1"}}, {"unset": ["ceiling.cpu"]}])
def test_a_ceiling_can_be_neither_set_nor_unset_below_the_platform(
    document: dict[str, Any],
) -> None:
    kind = kinds.by_name("task_resource")
    with pytest.raises(Invalid, match="'domain' is not valid; allowed: at settings, platform only"):
        kind.parse(document, DOMAIN)
    kind.parse(document, PLATFORM)


def test_a_map_key_can_be_unset_where_another_key_begins_with_it() -> None:
    document = {"attributes": {"quota.cpu": "5"}, "unset": ["attributes.quota"]}
    kind = kinds.by_name("cluster_resource")
    assert kind.to_document(kind.parse(document, PLATFORM)) == document


@pytest.mark.parametrize(
    ("name", "document", "stored"),
    [
        ("task_resource", {"limits": {}, "defaults": {"cpu": "1"}, "unset": []},
         {"defaults": {"cpu": "1"}}),
        ("execution_queue", {"tags": []}, {}),
        ("plugin_override", {"overrides": {"spark": {}, "ray": {"plugin_id": []}}}, {}),
        ("workflow_execution_config", {"security_context": {"run_as": {}}}, {}),
        ("workflow_execution_config", {"overwrite_cache": False}, {"overwrite_cache": False}),
    ],
)  # fmt: skip
def test_empty_groups_maps_and_lists_are_not_stored(
    name: str, document: dict[str, Any], stored: dict[str, Any]
) -> None:
    kind = kinds.by_name(name)
    assert kind.to_document(kind.parse(document, PLATFORM)) == stored


def test_a_deprecated_path_is_accepted_with_a_warning() -> None:
    kind = kinds.by_name("task_resource")
    document = {"limits": {"storage": "1Gi"}, "unset": ["defaults.storage"]}
    current = {"limits": {"ephemeral_storage": "1Gi"}, "unset": ["defaults.ephemeral_storage"]}
    assert kind.to_document(kind.parse(document, PLATFORM)) == current
    assert kind.rename_deprecated({"limits": {"storage": None}}) == {
        "limits": {"ephemeral_storage": None}
    }
    assert len(kind.warnings(document)) == 2
    with_keys = {**document, "unset": [["defaults", "storage"]]}
    assert kind.to_document(kind.parse(with_keys, PLATFORM)) == current
    assert kind.warnings(with_keys) == kind.warnings(document)
    assert kind.warnings(document)[1] == (
        "limits.storage is deprecated and was read as limits.ephemeral_storage"
    )
    assert kind.warnings(current) == ()
    assert document["limits"] == {"storage": "1Gi"}


@pytest.mark.parametrize(
    ("name", "document", "stored", "path"),
    [
        ("execution_queue", {"tags": ["b", "a", "b"]}, {"tags": ["b", "a"]}, "tags"),
        (
            "plugin_override",
            {"overrides": {"spark": {"plugin_id": ["x", "x"]}, "ray": {"plugin_id": ["x"]}}},
            {"overrides": {"spark": {"plugin_id": ["x"]}, "ray": {"plugin_id": ["x"]}}},
            "overrides.spark.plugin_id",
        ),
    ],
)
def test_a_repeated_item_counts_once_with_a_warning(
    name: str, document: dict[str, Any], stored: dict[str, Any], path: str
) -> None:
    kind = kinds.by_name(name)
    assert kind.to_document(kind.parse(document, PLATFORM)) == stored
    [warning] = kind.warnings(document)
    assert warning.startswith(f"{path}: ")
    assert warning.endswith("is listed 2 times and counts once")
    assert kind.warnings(stored) == ()


def test_repeated_items_take_a_time_like_others() -> None:
    # A quadratic count would take minutes.
    tags = [str(number) for number in range(50_000)]
    assert len(kinds.by_name("execution_queue").warnings({"tags": tags * 2})) == 50_000


def test_many_paths_are_unset_in_a_time_like_few() -> None:
    # A quadratic check would take minutes.
    document = {
        "unset": [f"labels.a{number}" for number in range(20_000)],
        "labels": {f"b{number}": "x" for number in range(20_000)},
    }
    kind = kinds.by_name("workflow_execution_config")
    assert len(kind.parse(document, PLATFORM).unset) == 20_000


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (
            {"security_context": {"secrets": [{"group": "a"}, {"group": "a", "key": None}]}},
            "security_context.secrets.1.key",
        ),
        (
            {
                "execution_env_assignments": [
                    {"node_ids": ["n"], "execution_env": {"name": "a", "type": "b", "spec": None}}
                ]
            },
            "execution_env_assignments.0.execution_env.spec",
        ),
    ],
)
def test_a_null_in_a_list_is_refused_and_readable_where_it_is_stored(
    document: dict[str, Any], path: str
) -> None:
    kind = kinds.by_name("workflow_execution_config")
    with pytest.raises(Invalid) as refused:
        kind.parse(document, PLATFORM)
    assert refused.value.path == path
    kind.read(document, PLATFORM)


def test_a_limit_of_zero_under_a_deprecated_name_warns_by_its_current_name() -> None:
    kind = kinds.by_name("task_resource")
    _deprecated, zero = kind.warnings({"limits": {"storage": "0"}})
    assert zero.startswith("limits.ephemeral_storage is '0', ")


@pytest.mark.parametrize("patch", [{"limits": None}, {"limits": {"gpu": None}}, {}])
def test_a_patch_that_removes_a_limit_sets_none_to_zero(patch: dict[str, Any]) -> None:
    assert kinds.by_name("task_resource").warnings(patch) == ()


@pytest.mark.parametrize("patch", [{"overrides": None}, {"overrides": {"spark": None}}, {}])
def test_a_patch_that_removes_a_list_has_no_repeated_item(patch: dict[str, Any]) -> None:
    assert kinds.by_name("plugin_override").warnings(patch) == ()


@pytest.mark.parametrize("zero", ["0", "0Mi", "0e3", "-0", "0.000"])
def test_a_limit_of_zero_warns_that_flyte_reads_it_as_no_limit(zero: str) -> None:
    kind = kinds.by_name("task_resource")
    document = {"limits": {"gpu": zero, "cpu": "1"}, "defaults": {"gpu": zero}}
    assert kind.to_document(kind.parse(document, PLATFORM)) == document
    [warning] = kind.warnings(document)
    assert warning == (
        f"limits.gpu is '{zero}', so no task may have any; "
        "Flyte reads 0 as no limit, which is limits.gpu in unset"
    )


def test_annotations_leave_room_in_the_total_size_that_kubernetes_accepts() -> None:
    kind = kinds.by_name("workflow_execution_config")
    largest = {"annotations.a": "x" * (240 * 1024 - 1)}
    assert list(kind.validate(largest)) == []
    [problem] = kind.validate({**largest, "annotations.b": ""})
    assert (problem.path, problem.value) == ("annotations", 240 * 1024 + 1)


@pytest.mark.parametrize(
    ("flat", "path"),
    [
        ({"defaults.cpu": "3", "limits.cpu": "2"}, "defaults.cpu"),
        ({"defaults.memory": "1Gi", "ceiling.memory": "1000Mi"}, "defaults.memory"),
        ({"limits.gpu": "2", "ceiling.gpu": "1"}, "limits.gpu"),
    ],
)
def test_a_task_resource_over_its_bound_is_a_problem(flat: dict[str, Any], path: str) -> None:
    [problem] = kinds.by_name("task_resource").validate(flat)
    assert problem.path == path
    assert problem.value == flat[path]


def test_a_task_resource_equal_to_its_bound_is_not_a_problem() -> None:
    flat: dict[str, Any] = {"defaults.cpu": "2000m", "limits.cpu": "2", "ceiling.cpu": "2e0"}
    assert list(kinds.by_name("task_resource").validate(flat)) == []


def test_a_stored_name_that_no_placeholder_can_have_stays_readable() -> None:
    document = {"attributes": {"a b": "5"}}
    kind = kinds.by_name("cluster_resource")
    assert kind.to_document(kind.read(document, Scope())) == document
