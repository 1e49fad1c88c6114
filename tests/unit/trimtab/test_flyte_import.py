"""The plan of an import from Flyte 1, and its report of effective values that differ."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from flyteidl.admin.matchable_resource_pb2 import MatchingAttributes
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from trimtab import kinds
from trimtab.api.settings import DocumentBody
from trimtab.cli.scopes import scope_from_body
from trimtab.flyte.importing import Plan, contents_of_rows, plan
from trimtab.flyte.rows import FlyteProject, Row
from trimtab.levels import Scope

DOMAINS = ["development", "production"]
SHOP = FlyteProject("shop", "Shop", "sells", {"team": "a"})
ATTIC = FlyteProject("attic", "attic", is_archived=True)
NOTHING = {"display_name": "", "description": "", "labels": {}}
TASK, QUEUE, CONFIG = "task_resource", "execution_queue", "workflow_execution_config"
TARGETS = {
    TASK: "task_resource_attributes",
    QUEUE: "execution_queue_attributes",
    CONFIG: "workflow_execution_config",
    "plugin_override": "plugin_overrides",
}


def row(kind: str, fields: Mapping[str, Any], project: str = "shop", *parts: str) -> Row:
    """Return a row; the parts are a domain, a workflow and a launch plan."""
    message = json_format.ParseDict({TARGETS[kind]: fields}, MatchingAttributes())
    return Row(kinds.by_name(kind), message, project, *parts)


def planned(
    rows: Iterable[Row],
    stored: Sequence[DocumentBody] = (),
    projects: Sequence[FlyteProject] = (SHOP, ATTIC),
    **options: bool,
) -> Plan:
    return plan(contents_of_rows(DOMAINS, projects, rows), stored, **options)


def stored_after(found: Plan) -> list[DocumentBody]:
    """Return what is stored after the plan has been applied to an empty installation."""
    return [each.document.model_copy(update={"version": 7}) for each in found.planned]


def records(found: Plan) -> dict[str, Any]:
    """Return the documents of the records to write, by scope."""
    return {
        str(Scope(body.domain, body.project, body.workflow, body.launch_plan)): body.document
        for body in found.documents
        if body.kind in kinds.registered()
    }


def differing(found: Plan) -> dict[str, dict[str, tuple[object, object]]]:
    return {
        str(scope_from_body(each.target)): {c.path: (c.before, c.after) for c in each.changes}
        for each in found.differences
    }


def test_projects_and_domains_come_before_records() -> None:
    found = planned([row(QUEUE, {"tags": ["gpu"]})])
    entities = [(body.kind, body.name, body.document) for body in found.documents[:-1]]
    assert entities == [
        ("domain", "development", {}),
        ("domain", "production", {}),
        ("project", "attic", {**NOTHING, "state": "archived"}),
        (
            "project",
            "shop",
            {
                "display_name": "Shop",
                "description": "sells",
                "labels": {"team": "a"},
                "state": "active",
            },
        ),
    ]
    assert records(found) == {"project shop": {"tags": ["gpu"]}}


def test_a_zero_quantity_is_unset() -> None:
    found = planned([row(TASK, {"limits": {"cpu": "0", "memory": "1Gi"}})])
    assert records(found) == {
        "project shop": {"limits": {"memory": "1Gi"}, "unset": ["limits.cpu"]}
    }


ROWS = [
    row(TASK, {"limits": {"gpu": "2", "cpu": "0"}, "defaults": {"memory": "0"}}),
    row(TASK, {"defaults": {"cpu": "1"}}, "shop", "development"),
    row(TASK, {"limits": {"gpu": "1"}}, "shop", "development", "pay"),
    row(QUEUE, {"tags": ["gpu"]}, "attic", "production"),
    row(CONFIG, {"labels": {"values": {"team": "a"}}}, "shop"),
    row(CONFIG, {"labels": {"values": {"cost": "b"}}}, "shop", "production"),
]


@pytest.mark.parametrize("keep_effective", [False, True])
def test_a_second_import_changes_nothing(keep_effective: bool) -> None:
    first = planned(ROWS, keep_effective=keep_effective)
    second = planned(ROWS, stored_after(first), keep_effective=keep_effective)
    assert first.documents
    assert second.documents == []
    assert second.counts == {"none": len(first.planned)}


@given(st.permutations(ROWS))
def test_a_plan_does_not_depend_on_the_order_of_rows(rows: list[Row]) -> None:
    assert planned(rows) == planned(ROWS)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(TASK, {"limits": {"cpu": "many"}}), "limits.cpu: 'many' is not"),
        (row(TASK, {"limits": {"cpu": "1"}}, "mall"), 'there is no project "mall"'),
        (row(TASK, {"limits": {"cpu": "1"}}, "shop", "test"), 'there is no domain "test"'),
        (row(TASK, {}, "", "", "pay"), "project: '' is not valid"),
        (row(TASK, {"limits": {"cpu": "1"}}, "shop", "production", "a b"), "workflow: 'a b'"),
        (row(CONFIG, {"labels": {"values": {"a b": "c"}}}), "labels.a b"),
        (row(TASK, {"defaults": {"cpu": "2"}, "limits": {"cpu": "1"}}), "at most limits.cpu"),
        (
            Row(kinds.by_name(TASK), row(QUEUE, {}).message, "shop"),
            "allowed: attributes of task_resource",
        ),
        (Row(kinds.by_name(TASK), MatchingAttributes(), "shop"), "matching_attributes: null"),
    ],
)
def test_a_bad_row_is_reported_and_not_stored(bad: Row, reason: str) -> None:
    good = row(QUEUE, {"tags": ["gpu"]})
    found = planned([bad, good])
    assert [refused.what for refused in found.refused] == [str(bad)]
    assert reason in found.refused[0].reason
    assert records(found) == {"project shop": {"tags": ["gpu"]}}


def test_a_row_is_refused_that_admin_would_refuse_with_a_broader_one() -> None:
    broad = row(TASK, {"limits": {"cpu": "1"}})
    narrow = row(TASK, {"defaults": {"cpu": "2"}}, "shop", "production", "pay")
    found = planned([narrow, broad])
    assert [refused.what for refused in found.refused] == [str(narrow)]
    assert list(records(found)) == ["project shop"]
    assert planned([narrow, broad], keep_effective=True).refused == []


def test_a_project_with_an_illegal_label_is_refused_with_its_rows() -> None:
    project = FlyteProject("mall", labels={"a b": "c"})
    found = planned([row(QUEUE, {"tags": ["x"]}, "mall")], projects=[project])
    assert [refused.what for refused in found.refused] == [
        'project "mall"',
        'execution_queue of project "mall"',
    ]


def test_a_project_with_a_text_that_admin_refuses_is_refused() -> None:
    found = planned([], projects=[FlyteProject("mall", description="\x1b[2J"), SHOP])
    assert [refused.what for refused in found.refused] == ['project "mall"']
    assert [body.name for body in found.documents if body.kind == "project"] == ["shop"]


def test_native_parts_of_a_stored_record_stay() -> None:
    document = {"limits": {"cpu": "1"}, "over_limit": "clamp", "unset": ["limits.gpu"]}
    stored = DocumentBody(kind=TASK, project="shop", document=document, version=3)
    found = planned([row(TASK, {"limits": {"memory": "1Gi"}})], [stored])
    [written] = [body for body in found.documents if body.kind == TASK]
    assert written.document == {"limits": {"memory": "1Gi"}, "over_limit": "clamp"}
    assert written.version == 3


def test_an_entry_that_flyte_lacks_is_removed() -> None:
    entry = {"plugin_id": ["a"]}
    stored = DocumentBody(
        kind="plugin_override",
        project="shop",
        domain="production",
        document={"overrides": {"spark": entry, "ray": entry}},
        version=3,
    )
    overrides = {"overrides": [{"task_type": "ray", "plugin_id": ["a"]}]}
    found = planned([row("plugin_override", overrides, "shop", "production")], [stored])
    [written] = [body for body in found.documents if body.kind == "plugin_override"]
    assert written.document == {"overrides": {"ray": entry}}


def test_records_of_an_archived_project_are_refused_unless_they_are_stored() -> None:
    rows = [row(QUEUE, {"tags": ["gpu"]}, "attic")]
    stored = stored_after(planned(rows))
    assert planned(rows, stored).refused == []
    found = planned([row(QUEUE, {"tags": ["cpu"]}, "attic")], stored)
    assert "unarchive it first" in found.refused[0].reason
    assert found.documents == []


def test_the_report_has_the_value_before_and_after() -> None:
    found = planned(ROWS[:3])
    assert differing(found) == {
        "project-domain shop/development": {"limits.gpu": (None, "2")},
        "workflow shop/development/pay": {"defaults.cpu": (None, "1")},
    }
    assert planned(ROWS[:3], keep_effective=True).differences == []


def test_flyte_reads_no_storage() -> None:
    found = planned([row(TASK, {"limits": {"storage": "5Gi"}})])
    change = {"limits.ephemeral_storage": (None, "5Gi")}
    assert differing(found) == {
        "project-domain shop/development": change,
        "project-domain shop/production": change,
    }
    both = planned([row(TASK, {"limits": {"storage": "5Gi", "ephemeral_storage": "1Gi"}})])
    assert records(both) == {"project shop": {"limits": {"ephemeral_storage": "1Gi"}}}


def test_values_below_a_row_that_is_not_imported_are_not_compared() -> None:
    bad = row(TASK, {"limits": {"cpu": "many"}}, "shop", "development")
    found = planned([*ROWS[:1], bad, *ROWS[2:3]])
    assert found.differences == []
    # 8 kinds at 4 project-domains, without that of the bad row and the workflow in it.
    assert found.compared == 8 * 4 - 1


def test_what_trimtab_has_already_takes_part_in_the_report() -> None:
    platform = DocumentBody(kind=QUEUE, document={"tags": ["default"]}, version=1)
    found = planned([row(QUEUE, {"tags": ["gpu"]}, "shop", "production")], [platform])
    assert differing(found) == {
        "project-domain attic/development": {"tags": (None, ["default"])},
        "project-domain attic/production": {"tags": (None, ["default"])},
        "project-domain shop/development": {"tags": (None, ["default"])},
    }


# --- The report against an oracle that shares no code with it.

QUANTITY = st.sampled_from(["", "0", "1", "2"])
SPEC = st.fixed_dictionaries({"cpu": QUANTITY, "memory": QUANTITY})
IDENTITY = st.sampled_from(
    [
        ("shop",),
        ("shop", "development"),
        ("shop", "production"),
        ("shop", "development", "pay"),
        ("shop", "development", "ship"),
        ("attic", "production"),
        ("attic", "production", "pay"),
    ]
)
Limits = Mapping[tuple[str, ...], Mapping[str, str]]


def flyte_value(rows: Limits, target: tuple[str, ...]) -> dict[str, str]:
    """Return the limits of the narrowest row; a zero is no limit."""
    for length in range(len(target), 0, -1):
        if target[:length] in rows:
            limits = rows[target[:length]].items()
            return {name: text for name, text in limits if text not in ("", "0")}
    return {}


def trimtab_value(rows: Limits, target: tuple[str, ...]) -> dict[str, str]:
    """Return the limits field by field; a zero ends inheritance."""
    value: dict[str, str] = {}
    for length in range(1, len(target) + 1):
        value |= {name: text for name, text in rows.get(target[:length], {}).items() if text}
    return {name: text for name, text in value.items() if text != "0"}


@given(st.dictionaries(IDENTITY, SPEC))
def test_exactly_the_targets_whose_value_differs_are_reported(limits: Limits) -> None:
    rows = [row(TASK, {"limits": spec}, *identity) for identity, spec in limits.items()]
    targets = {(project, domain) for project in ("shop", "attic") for domain in DOMAINS}
    targets |= {identity for identity in limits if len(identity) > 2}
    expected = {}
    for target in targets:
        before, after = flyte_value(limits, target), trimtab_value(limits, target)
        if before != after:
            expected[target] = {
                f"limits.{name}": (before.get(name), after.get(name))
                for name in ("cpu", "memory")
                if before.get(name) != after.get(name)
            }
    found = planned(rows)
    reported = {
        tuple(filter(None, (each.target.project, each.target.domain, each.target.workflow))): {
            change.path: (change.before, change.after) for change in each.changes
        }
        for each in found.differences
    }
    assert reported == expected
    kept = planned(rows, keep_effective=True)
    assert kept.differences == []
    for body in kept.documents:
        if body.kind == TASK:
            target = tuple(filter(None, (body.project, body.domain, body.workflow)))
            assert body.document.get("limits", {}) == flyte_value(limits, target)
