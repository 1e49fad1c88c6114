"""Values of an execution as a whole, and values of the settings for each of its nodes."""

from typing import Any, Literal

import pytest

from tests.unit.propeller.building import (
    PROJECT_DOMAIN,
    node,
    overrides,
    record,
    request,
    settings,
)
from trimtab.levels import PLATFORM
from trimtab.messages.events import ClusterChanged, ProjectChanged, QueueChanged
from trimtab.messages.resolutions import Resolution, ResolvedValue
from trimtab.resolution.limits import Refusal
from trimtab.settings.state import Settings
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.executors.process import CAPABILITIES
from trimtab_propeller.resolution import resolve

CONFIG = "workflow_execution_config"
EVERYTHING = settings(
    record(CONFIG, {"labels": {"team": "a", "tier": "1"}, "envs": {"LOG": "info"}}, PLATFORM),
    record(
        CONFIG,
        {
            "max_parallelism": 5,
            "security_context": {
                "run_as": {"k8s_service_account": "demo"},
                "secrets": [{"group": "db"}],
            },
            "raw_output_data_config": {"output_location_prefix": "s3://bucket"},
            "labels": {"team": "b"},
            "annotations": {"cost-center": "42"},
            "interruptible": True,
            "overwrite_cache": True,
            "envs": {"LOG": "debug", "A.B": "1"},
        },
    ),
    record("execution_queue", {"tags": ["critical"]}),
    record("plugin_override", {"overrides": {"spark": {"plugin_id": ["a"]}}}),
    record("quality_of_service", {"tier": "HIGH"}),
    record("cluster_assignment", {"cluster_pool_name": "gpus"}),
    ClusterChanged(name="east", labels=("gpus",)),
)


def execution_values(resolution: Resolution) -> dict[str, ResolvedValue]:
    return {value.path: value for value in resolution.execution}


def resolve_default(after: Settings = EVERYTHING) -> Resolution:
    return resolve(request(), after, CAPABILITIES)


def test_every_field_of_the_kinds_is_recorded_for_the_execution() -> None:
    found = {path: value.value for path, value in execution_values(resolve_default()).items()}
    assert found == {
        "annotations.cost-center": "42",
        "cluster_assignment.cluster_pool_name": "gpus",
        "execution_queue.tags": ["critical"],
        "labels.team": "b",
        "labels.tier": "1",
        "max_parallelism": 5,
        "overwrite_cache": True,
        "plugin_override.overrides.spark": {"plugin_id": ["a"]},
        "quality_of_service.tier": "HIGH",
        "raw_output_data_config.output_location_prefix": "s3://bucket",
        "security_context.run_as.k8s_service_account": "demo",
        "security_context.secrets": [{"group": "db"}],
    }


def test_each_value_names_its_record() -> None:
    tier = execution_values(resolve_default())["labels.tier"]
    assert (tier.source, tier.scope, tier.revision) == (f"{CONFIG}.labels.tier", "platform", 1)
    tags = execution_values(resolve_default())["execution_queue.tags"]
    assert (tags.source, tags.scope) == ("execution_queue.tags", str(PROJECT_DOMAIN))


def test_values_that_the_process_executor_ignores_have_a_note() -> None:
    values = execution_values(resolve_default())
    applied = {path for path, value in values.items() if not value.note}
    assert applied == {"max_parallelism", "plugin_override.overrides.spark"}
    assert values["overwrite_cache"].note == "ignored by the process executor"


def test_max_parallelism_is_read_from_the_resolution() -> None:
    assert resolve_default().max_parallelism == 5
    assert resolve_default(settings()).max_parallelism is None


def test_every_node_has_the_variables_of_the_settings() -> None:
    wanted = request(node("n0"), node("n1"))
    resolution = resolve(wanted, EVERYTHING, CAPABILITIES)
    for name in ("n0", "n1"):
        assert resolution.environment(name) == {"LOG": "debug", "A.B": "1"}
    assert resolution.value("n0", "interruptible") is True


@pytest.mark.parametrize("source", ["task", "with_overrides", "launch plan", "execution"])
def test_every_other_source_of_a_variable_wins_over_the_settings(source: str) -> None:
    own = {"environment": {"LOG": "mine"}}
    wanted = request(
        node(compiled=overrides(**own) if source == "with_overrides" else None),
        task=overrides(**own) if source == "task" else None,
        plan=own if source == "launch plan" else None,
        **(own if source == "execution" else {}),
    )
    leaves = resolve(wanted, EVERYTHING, Capabilities("any")).nodes["n0"]
    log = next(leaf for leaf in leaves if leaf.path == "environment.LOG")
    assert (log.value, log.source) == ("mine", source)


OWN = {"max_parallelism": 7, "overwrite_cache": False, "labels": {"team": "c"}}


@pytest.mark.parametrize(
    ("plan", "fields", "source"),
    [
        (OWN, {}, "launch plan"),
        ({}, OWN, "execution"),
        (
            {"max_parallelism": 9, "overwrite_cache": True, "labels": {"team": "d"}},
            OWN,
            "execution",
        ),
    ],
)
def test_a_request_wins_over_its_launch_plan_and_both_over_the_settings(
    plan: dict[str, Any], fields: dict[str, Any], source: str
) -> None:
    resolution = resolve(request(plan=plan, **fields), EVERYTHING, Capabilities("any"))
    found = execution_values(resolution)
    for path, value in {"overwrite_cache": False, "labels.team": "c"}.items():
        assert (found[path].value, found[path].source) == (value, source)
    assert resolution.max_parallelism == 7
    assert found["labels.tier"].source == f"{CONFIG}.labels.tier"


def test_placeholders_of_records_are_filled_with_names_of_the_execution() -> None:
    texts = {"envs": "PREFIX", "annotations": "note", "labels": "team"}
    document: dict[str, Any] = {
        field: {key: "{{ project }}-{{ domain }}"} for field, key in texts.items()
    }
    prefix = {"output_location_prefix": "s3://b/{{ workflow }}/{{ launch_plan }}/{{ execution }}"}
    after = settings(record(CONFIG, document | {"raw_output_data_config": prefix}, PLATFORM))
    resolution = resolve(request(), after, Capabilities("any"))
    found = execution_values(resolution)
    assert resolution.environment("n0") == {"PREFIX": "shop-development"}
    assert found["annotations.note"].value == found["labels.team"].value == "shop-development"
    assert found["labels.team"].note == "from '{{ project }}-{{ domain }}'"
    location = found["raw_output_data_config.output_location_prefix"]
    assert location.value == "s3://b/nightly/nightly/e1"


@pytest.mark.parametrize("field", ["annotations", "envs"])
def test_a_stored_text_in_braces_that_is_no_placeholder_stays_with_a_note(field: str) -> None:
    text = "{{ project }} {{projct}}"
    after = settings(record(CONFIG, {field: {"A": text}}))
    resolution = resolve(request(), after, Capabilities("any"))
    [value] = (v for v in (*resolution.execution, *resolution.nodes["n0"]) if v.path[-2:] == ".A")
    assert value.value == "shop {{projct}}"
    assert value.note == f"from {text!r}; {{{{projct}}}} is no placeholder"


def test_a_label_that_a_placeholder_makes_too_long_is_refused_with_its_record() -> None:
    after = settings(record(CONFIG, {"labels": {"team": f"{'a' * 60}{{{{ project }}}}"}}))
    with pytest.raises(Refusal, match="at most 63") as refused:
        resolve(request(), after, Capabilities("any"))
    assert (refused.value.path, refused.value.scope) == ("labels.team", str(PROJECT_DOMAIN))


def test_a_request_may_set_whether_its_tasks_are_interruptible() -> None:
    wanted = request(
        task=overrides(interruptible=True), plan={"interruptible": True}, interruptible=False
    )
    assert resolve(wanted, EVERYTHING, Capabilities("any")).value("n0", "interruptible") is False


def test_every_other_label_wins_over_that_of_the_project() -> None:
    shop = ProjectChanged(name="shop", labels={"team": "shop", "cost": "7"})
    team = record(CONFIG, {"labels": {"team": "b"}})
    found = execution_values(resolve(request(), settings(team, shop), Capabilities("any")))
    assert (found["labels.team"].value, found["labels.cost"].value) == ("b", "7")
    cost = found["labels.cost"]
    assert (cost.source, cost.scope, cost.revision) == ("project", "project shop", 2)


def test_a_task_may_set_that_it_is_not_interruptible() -> None:
    wanted = request(task=overrides(interruptible=False))
    assert resolve(wanted, EVERYTHING, Capabilities("any")).value("n0", "interruptible") is False


def test_an_unset_value_is_not_recorded() -> None:
    after = settings(
        record(CONFIG, {"max_parallelism": 5, "labels": {"team": "a"}}, PLATFORM),
        record(CONFIG, {"unset": ["max_parallelism", "labels.team"]}),
    )
    assert resolve(request(), after, CAPABILITIES).execution == ()


def test_a_record_may_replace_all_labels_of_broader_ones() -> None:
    after = settings(
        record(CONFIG, {"labels": {"team": "a", "tier": "1"}}, PLATFORM),
        record(CONFIG, {"labels": {"team": "b"}, "unset": ["labels"]}),
    )
    [label] = resolve(request(), after, CAPABILITIES).execution
    assert (label.path, label.value) == ("labels.team", "b")


def numbered(name: str, count: int) -> dict[str, str]:
    return {f"{name}{number}": "v" for number in range(count)}


def test_an_execution_with_too_many_labels_of_all_sources_is_refused() -> None:
    shop = ProjectChanged(name="shop", labels=numbered("p", 16))
    after = settings(record(CONFIG, {"labels": numbered("s", 16)}), shop)
    resolve(request(labels=numbered("r", 16)), after, Capabilities("any"))
    with pytest.raises(Refusal, match=r"49 labels \(17 of the execution, 16 of project shop"):
        resolve(request(labels=numbered("r", 17)), after, Capabilities("any"))


def test_annotations_of_the_settings_are_measured_with_their_placeholders_filled() -> None:
    text = "{{ domain }}" + "x" * (240 * 1024 - len("adevelopment"))
    after = settings(record(CONFIG, {"annotations": {"a": text}}))
    resolve(request(), after, Capabilities("any"))
    with pytest.raises(Refusal, match="245762 bytes of annotations"):
        resolve(request(annotations={"b": "1"}), after, Capabilities("any"))


def test_a_queue_of_kueue_replaces_the_label_with_a_note() -> None:
    key = "kueue.x-k8s.io/queue-name"
    label = record(CONFIG, {"labels": {key: "mine"}})
    tags = record("execution_queue", {"tags": ["gpu"]})
    found = []
    systems: list[Literal["kueue", "child_queue"]] = ["kueue", "child_queue"]
    for system in systems:
        queue = QueueChanged(name="q", attributes=("gpu",), system=system)
        resolution = resolve(request(), settings(label, tags, queue), Capabilities("any"))
        found.append(execution_values(resolution)[f"labels.{key}"].note)
    assert found == ["replaced by queue q, which execution_queue.tags selects", ""]
