"""Settings of Flyte 2 become documents of kinds, and these become the same settings."""

from typing import Any

import pytest
from flyteidl2.settings import settings_definition_pb2 as flyte2
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from trimtab import kinds
from trimtab.errors import Invalid
from trimtab.flyte import settings as mapping
from trimtab.labels import POD_TEMPLATE
from trimtab.levels import PLATFORM, SETTINGS_FILE, Scope
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings

HERE = Scope("production", "shop")
UNSET: dict[str, Any] = {"state": "SETTING_STATE_UNSET"}


def value(value: Any) -> dict[str, Any]:
    """Return a leaf as JSON."""
    leaf: dict[str, Any] = {"state": "SETTING_STATE_VALUE"}
    match value:
        case bool():
            return {**leaf, "bool_value": value}
        case int():
            return {**leaf, "int_value": value}
        case dict():
            return {**leaf, "map_value": {"entries": value}}
    return {**leaf, "string_value": value}


def quantity(text: str) -> dict[str, Any]:
    return {"state": "SETTING_STATE_VALUE", "quantity_value": text}


def message(**groups: Any) -> flyte2.Settings:
    return json_format.ParseDict(groups, flyte2.Settings())


def written(sent: flyte2.Settings, **stored: dict[str, Any]) -> dict[str, Any]:
    return mapping.documents(sent, stored, HERE)


def test_each_leaf_has_its_field() -> None:
    sent = message(
        run={"max_action_concurrency": value(5)},
        security={"service_account": value("trainer")},
        storage={"raw_data_path": value("s3://raw/x")},
        task_resource={
            "min": {"cpu": quantity("500m"), "storage": quantity("1Gi")},
            "max": {"memory": quantity("2Gi"), "gpu": quantity("1")},
            "mirror_limits_request": value(False),
        },
        labels=value({"team": "a"}),
        annotations=value({"note": "b"}),
        environment_variables=value({"LOG": "c"}),
        pod_template_name=value("gpu"),
    )
    documents = {
        "task_resource": {
            "minimum": {"cpu": "500m", "ephemeral_storage": "1Gi"},
            "limits": {"memory": "2Gi", "gpu": "1"},
            "over_limit": "clamp",
            "mirror_limits_request": False,
        },
        "workflow_execution_config": {
            "max_parallelism": 5,
            "security_context": {"run_as": {"k8s_service_account": "trainer"}},
            "raw_output_data_config": {"output_location_prefix": "s3://raw/x"},
            "labels": {"team": "a"},
            "annotations": {"note": "b", POD_TEMPLATE: "gpu"},
            "envs": {"LOG": "c"},
        },
    }
    assert written(sent) == documents
    assert mapping.to_message(documents) == sent


def leaf_names(message_type: Any, prefix: str = "") -> set[str]:
    names = set[str]()
    for field in message_type.fields:
        path = f"{prefix}{field.name}"
        if "state" in field.message_type.fields_by_name:
            names.add(path)
        else:
            names |= leaf_names(field.message_type, f"{path}.")
    return names


def test_every_leaf_of_the_message_has_a_field_or_is_refused_by_name() -> None:
    for leaf in leaf_names(flyte2.Settings.DESCRIPTOR):
        for state in (flyte2.SETTING_STATE_UNSET, flyte2.SETTING_STATE_VALUE):
            sent = flyte2.Settings()
            inner: Any = sent
            for name in leaf.split("."):
                inner = getattr(inner, name)
            inner.state = state
            if leaf in {"labels", "annotations", "environment_variables"} and state == 2:
                inner.map_value.entries["a"] = "b"
            elif leaf.partition(".")[2].startswith("m") and "." in leaf.partition(".")[2]:
                inner.quantity_value = "1"
            elif state == 2 and leaf in {"security.service_account", "storage.raw_data_path"}:
                inner.string_value = "x"
            elif state == 2 and leaf == "run.max_action_concurrency":
                inner.int_value = 2
            if leaf in {
                "run.default_queue",
                "run.run_base_dir",
                "task_resource.default_accelerator",
                "app.disallow_anonymous",
                "app.app_dns_strategy",
            }:
                with pytest.raises(Invalid) as refused:
                    written(sent)
                assert refused.value.path == leaf
                continue
            made = mapping.to_message(written(sent))
            read: Any = made
            for name in leaf.split("."):
                read = getattr(read, name)
            assert read.state == state, leaf


KEYS = st.sampled_from(["A", "B"])
QUANTITIES = st.sampled_from(["0", "1", "1000m"])


def states(values: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any] | None]:
    return st.none() | st.just(UNSET) | values


RESOURCES = st.fixed_dictionaries(
    {name: states(QUANTITIES.map(quantity)) for name in ("cpu", "gpu", "memory", "storage")}
)
MAPS = states(st.dictionaries(KEYS, KEYS, min_size=1).map(value))
TEXTS = states(st.sampled_from(["x", "y"]).map(value))
MESSAGES = st.fixed_dictionaries(
    {
        "run": st.fixed_dictionaries(
            {"max_action_concurrency": states(st.integers(2, 2**31 - 1).map(value))}
        ),
        "security": st.fixed_dictionaries({"service_account": TEXTS}),
        "storage": st.fixed_dictionaries({"raw_data_path": TEXTS}),
        "task_resource": st.fixed_dictionaries(
            {
                "min": RESOURCES,
                "max": RESOURCES,
                "mirror_limits_request": states(st.booleans().map(value)),
            }
        ),
        "labels": MAPS,
        "annotations": MAPS,
        "environment_variables": MAPS,
        "pod_template_name": TEXTS,
    }
)


def pruned(fields: Any) -> Any:
    """Leave out leaves that inherit, and groups of such leaves."""
    if not isinstance(fields, dict) or "state" in fields:
        return fields
    kept = {name: pruned(inner) for name, inner in fields.items()}
    return {name: inner for name, inner in kept.items() if inner not in (None, {})}


def is_exact(fields: dict[str, Any]) -> bool:
    """Whether nothing else stops the inheritance of the template's name."""
    return fields["annotations"] != UNSET or fields["pod_template_name"] is not None


@given(fields=MESSAGES.filter(is_exact), stored=MESSAGES.filter(is_exact))
def test_a_message_is_read_as_it_was_written_whatever_was_stored(
    fields: dict[str, Any], stored: dict[str, Any]
) -> None:
    sent = message(**pruned(fields))
    before = written(message(**pruned(stored)))
    after = mapping.documents(sent, before, HERE)
    assert mapping.to_message(after) == sent
    for name, document in after.items():
        kind = kinds.by_name(name)
        assert kind.to_document(kind.parse(document, HERE)) == document


def test_without_annotations_the_template_is_unset_too() -> None:
    after = written(message(annotations=UNSET))
    assert mapping.to_message(after) == message(annotations=UNSET, pod_template_name=UNSET)


NATIVE = {
    "task_resource": {
        "defaults": {"cpu": "1"},
        "over_limit": "refuse",
        "unset": ["defaults.gpu", "defaults.memory"],
    },
    "workflow_execution_config": {
        "interruptible": True,
        "security_context": {"run_as": {"iam_role": "role"}},
        "envs": {"A": "1"},
        "unset": ["envs.B", "labels.C"],
    },
}


def test_native_parts_of_records_survive() -> None:
    assert written(flyte2.Settings(), **NATIVE) == {
        "task_resource": NATIVE["task_resource"],
        "workflow_execution_config": {
            "interruptible": True,
            "security_context": {"run_as": {"iam_role": "role"}},
            "unset": ["envs.B", "labels.C"],
        },
    }
    sent = message(
        task_resource={"max": {"cpu": quantity("2")}},
        security={"service_account": value("trainer")},
        environment_variables=value({"B": "2"}),
        labels=UNSET,
    )
    assert written(sent, **NATIVE) == {
        "task_resource": {**NATIVE["task_resource"], "limits": {"cpu": "2"}},
        "workflow_execution_config": {
            "interruptible": True,
            "security_context": {"run_as": {"iam_role": "role", "k8s_service_account": "trainer"}},
            "envs": {"B": "2"},
            "unset": ["labels"],
        },
    }


def test_a_group_that_is_unset_natively_is_kept_or_shown_by_its_fields() -> None:
    stored = {"unset": ["limits"]}
    read = mapping.to_message({"task_resource": stored})
    assert read == message(task_resource={"max": dict.fromkeys(RESOURCE_NAMES, UNSET)})
    assert written(read, task_resource=stored) == {"task_resource": stored}
    read.task_resource.max.cpu.CopyFrom(message(**CPU).task_resource.max.cpu)
    assert written(read, task_resource=stored)["task_resource"] == {
        "limits": {"cpu": "2"},
        "over_limit": "clamp",
        "unset": ["limits.ephemeral_storage", "limits.gpu", "limits.memory"],
    }


RESOURCE_NAMES = ("cpu", "gpu", "memory", "storage")
CPU = {"task_resource": {"max": {"cpu": quantity("2")}}}


@pytest.mark.parametrize(
    ("stored", "sent", "over_limit"),
    [
        ({}, CPU, "clamp"),
        ({"limits": {"cpu": "2"}}, CPU, None),
        ({"limits": {"cpu": "1"}}, CPU, "clamp"),
        ({"limits": {"cpu": "1"}, "over_limit": "refuse"}, CPU, "refuse"),
        ({"limits": {"cpu": "1"}, "unset": ["over_limit"]}, CPU, None),
        ({"limits": {"cpu": "1"}, "over_limit": "clamp"}, {}, None),
        ({"limits": {"cpu": "1"}, "over_limit": "refuse"}, {}, "refuse"),
        ({"over_limit": "clamp"}, {}, "clamp"),
    ],
)
def test_new_limits_lower_what_exceeds_them(
    stored: dict[str, Any], sent: dict[str, Any], over_limit: str | None
) -> None:
    after = written(message(**sent), task_resource=stored)
    assert after.get("task_resource", {}).get("over_limit") == over_limit


def test_a_record_that_replaces_a_map_goes_on_to_replace_it() -> None:
    stored = {"envs": {"A": "1"}, "unset": ["envs"]}
    read = mapping.to_message({"workflow_execution_config": stored})
    assert read == message(environment_variables=value({"A": "1"}))
    other = message(environment_variables=value({"B": "1"}))
    assert written(other, workflow_execution_config=stored) == {
        "workflow_execution_config": {"envs": {"B": "1"}, "unset": ["envs"]}
    }
    assert written(flyte2.Settings(), workflow_execution_config=stored) == {}


def test_a_map_that_was_unset_inherits_again_with_a_value() -> None:
    sent = message(environment_variables=value({"B": "1"}))
    assert written(sent, workflow_execution_config={"unset": ["envs"]}) == {
        "workflow_execution_config": {"envs": {"B": "1"}}
    }


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"task_resource": {"max": {"storage": quantity("abc")}}}, "task_resource.max.storage"),
        ({"task_resource": {"min": {"gpu": quantity("500m")}}}, "task_resource.min.gpu"),
        ({"run": {"max_action_concurrency": value(1)}}, "run.max_action_concurrency"),
        ({"run": {"max_action_concurrency": value(2**31)}}, "run.max_action_concurrency"),
        ({"environment_variables": value({"1A": "x"})}, "environment_variables.1A"),
        ({"security": {"service_account": value("")}}, "security.service_account"),
        ({"storage": {"raw_data_path": value("{{ missing }}")}}, "storage.raw_data_path"),
        ({"annotations": value({POD_TEMPLATE: "x"})}, f"annotations.{POD_TEMPLATE}"),
        ({"annotations": value({"trimtab.io/task": "x"})}, "annotations.trimtab.io/task"),
        ({"labels": {"state": 7}}, "labels.state"),
    ],
)
def test_a_wrong_value_is_refused_with_the_path_of_its_leaf(
    fields: dict[str, Any], path: str
) -> None:
    with pytest.raises(Invalid) as refused:
        written(message(**fields))
    assert refused.value.path == path


def test_no_limit_of_concurrent_actions_is_an_unset_one() -> None:
    sent = message(run={"max_action_concurrency": value(0)})
    assert written(sent) == {"workflow_execution_config": {"unset": ["max_parallelism"]}}


def test_one_action_at_a_time_is_kept_where_it_is_stored() -> None:
    stored = {"max_parallelism": 1}
    read = mapping.to_message({"workflow_execution_config": stored})
    assert written(read, workflow_execution_config=stored) == {"workflow_execution_config": stored}


def test_a_setting_of_a_later_release_is_not_lost_in_silence() -> None:
    sent = flyte2.Settings.FromString(flyte2.Settings().SerializeToString() + b"\xa2\x06\x00")
    with pytest.raises(Invalid, match="field 100"):
        written(sent)


def resolve(target: Scope, *records: tuple[Scope, str, dict[str, Any]]) -> flyte2.Settings:
    settings = Settings()
    for number, (scope, name, document) in enumerate(records, 1):
        kind = kinds.by_name(name)
        record = Record.of(kind, scope, number, document)
        settings.records.setdefault(name, {})[scope] = record
    return mapping.resolved(
        {kind.name: settings.effective(kind.name, target) for kind in mapping.KINDS}
    )


def test_effective_values_have_the_level_that_set_them() -> None:
    config = "workflow_execution_config"
    found = resolve(
        HERE,
        (SETTINGS_FILE, "task_resource", {"minimum": {"cpu": "1"}}),
        (PLATFORM, "task_resource", {"limits": {"cpu": "2", "gpu": "1"}}),
        (PLATFORM, config, {"envs": {"A": "1", "B": "1"}, "labels": {"a": "b"}}),
        (Scope("production"), "task_resource", {"unset": ["limits"]}),
        (Scope("production"), config, {"envs": {"B": "2"}, "annotations": {POD_TEMPLATE: "x"}}),
        (Scope(project="shop"), "task_resource", {"limits": {"cpu": "3"}}),
        (HERE, config, {"unset": ["labels", "max_parallelism"]}),
    )
    domain, project = ({"scope_level": f"SCOPE_LEVEL_{name}"} for name in ("DOMAIN", "PROJECT"))
    assert found == message(
        run={"max_action_concurrency": {**UNSET, **project}},
        task_resource={
            "min": {"cpu": quantity("1")},
            "max": {
                "cpu": {**quantity("3"), **project},
                "gpu": {**UNSET, **domain},
                "memory": {**UNSET, **domain},
                "storage": {**UNSET, **domain},
            },
        },
        labels={**UNSET, **project},
        environment_variables={**value({"A": "1", "B": "2"}), **domain},
        pod_template_name={**value("x"), **domain},
    )


def test_a_key_covers_the_scopes_around_it() -> None:
    key = flyte2.SettingsKey(org="acme", domain="production", project="shop")
    assert [mapping.scope_of(each) for each in mapping.keys_to(key)] == [
        PLATFORM,
        Scope("production"),
        HERE,
    ]
    assert {each.org for each in mapping.keys_to(key)} == {"acme"}
    assert len(mapping.keys_to(flyte2.SettingsKey(domain="production"))) == 2
