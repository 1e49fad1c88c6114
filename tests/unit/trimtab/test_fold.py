"""The fold: design's rules of inheritance, against an oracle that shares no code with it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trimtab import kinds
from trimtab.fold import Effective, Record, Source, fold
from trimtab.levels import PLATFORM, SETTINGS_FILE, Level, Scope

TARGET = Scope("development", "alpha", "train", "nightly")
DOMAIN, PROJECT, PROJECT_DOMAIN, WORKFLOW = TARGET.chain[2:6]

Document = dict[str, Any]  # a record as JSON
Stored = list[tuple[Scope, int, Document]]  # broadest first, with revisions

RESOURCES = ["cpu", "gpu", "memory", "ephemeral_storage"]
# Keys with dots, and one that begins with another, since paths are joined with dots.
KEYS = ["quota", "quota.cpu", "quota.cpu.max", "team"]


@st.composite
def task_resources(draw: st.DrawFn) -> Document:
    document: Document = {}
    unset: list[str] = []
    for group in ("defaults", "limits"):
        choice = draw(st.sampled_from(["absent", "unset", "present"]))
        if choice == "unset":
            unset.append(group)
        if choice == "present":
            _draw_members(draw, document, unset, group, RESOURCES, st.sampled_from("123"))
    match draw(st.sampled_from(["absent", "unset", "refuse", "clamp"])):
        case "absent":
            pass
        case "unset":
            unset.append("over_limit")
        case rule:
            document["over_limit"] = rule
    return document | ({"unset": unset} if unset else {})


@st.composite
def cluster_resources(draw: st.DrawFn) -> Document:
    document: Document = {}
    unset: list[str] = []
    if draw(st.integers(0, 4)) == 0:
        return {"unset": ["attributes"]}
    _draw_members(draw, document, unset, "attributes", KEYS, st.text(max_size=3))
    return document | ({"unset": unset} if unset else {})


def _draw_members(
    draw: st.DrawFn,
    document: Document,
    unset: list[str],
    place: str,
    names: list[str],
    values: st.SearchStrategy[str],
) -> None:
    for name in names:
        match draw(st.sampled_from(["absent", "absent", "unset", "present"])):
            case "unset":
                unset.append(f"{place}.{name}")
            case "present":
                document.setdefault(place, {})[name] = draw(values)


@st.composite
def stored(draw: st.DrawFn, kind: str, documents: st.SearchStrategy[Document]) -> Stored:
    levels = kinds.by_name(kind).levels | {Level.SETTINGS}
    scopes = [scope for scope in TARGET.chain if scope.level in levels and draw(st.booleans())]
    revisions = draw(st.permutations(range(1, len(scopes) + 1)))
    return [
        (scope, revision, draw(documents))
        for scope, revision in zip(scopes, revisions, strict=True)
    ]


def folded(kind: str, stored: Stored) -> Effective:
    """What the product makes of it."""
    found = kinds.by_name(kind)
    return fold(found, TARGET, [Record.of(found, *entry) for entry in stored])


def said(stored: Stored, place: str, name: str) -> list[Source]:
    """The oracle: everything said of one field, narrowest first, read off the nested documents.

    The field has the value that is said first, unless that takes the value away.
    """
    found = []
    for scope, revision, document in reversed(stored):
        unset = document.get("unset", [])
        holder = document.get(place, {}) if place else document
        if name in holder:
            found.append(Source(scope, revision, holder[name]))
        elif place in unset or (f"{place}.{name}" if place else name) in unset:
            found.append(Source(scope, revision, None))
    return found


def check(effective: Effective, stored: Stored, fields: list[tuple[str, str]]) -> None:
    expected: Document = {}
    for place, name in fields:
        entries = said(stored, place, name)
        if entries and entries[0].value is not None:
            holder = expected.setdefault(place, {}) if place else expected
            holder[name] = entries[0].value
        path = f"{place}.{name}" if place else name
        if path in effective.leaves:
            leaf = effective.leaves[path]
            assert [leaf.source, *leaf.overrode] == entries
    assert effective.document == expected


@given(stored("task_resource", task_resources()))
def test_groups_and_scalars_are_folded_as_the_design_says(stored: Stored) -> None:
    fields = [(group, name) for group in ("defaults", "limits") for name in RESOURCES]
    check(folded("task_resource", stored), stored, [*fields, ("", "over_limit")])


@given(stored("cluster_resource", cluster_resources()))
def test_maps_are_folded_by_key_as_the_design_says(stored: Stored) -> None:
    check(folded("cluster_resource", stored), stored, [("attributes", name) for name in KEYS])


@given(stored("task_resource", task_resources()))
def test_a_document_survives_the_way_into_a_record_and_out(stored: Stored) -> None:
    kind = kinds.by_name("task_resource")
    for scope, revision, document in stored:
        record = Record.of(kind, scope, revision, document)
        assert Record.of(kind, scope, revision, record.document) == record
        assert record.document == kind.stored(kind.parse(document, scope))


def test_nothing_stored_has_no_effective_value() -> None:
    effective = folded("task_resource", [])
    assert (effective.leaves, effective.document) == ({}, {})
    assert effective.value.model_dump(exclude_unset=True) == {}


@given(stored("cluster_resource", cluster_resources()))
def test_an_empty_record_changes_nothing(stored: Stored) -> None:
    before = folded("cluster_resource", stored)
    narrower: tuple[Scope, int, Document] = (PROJECT_DOMAIN, 99, {})
    assert folded("cluster_resource", [*stored, narrower]).leaves == before.leaves


@given(stored("task_resource", task_resources()))
def test_saying_the_effective_value_again_does_not_change_it(stored: Stored) -> None:
    document = folded("task_resource", stored).document
    again = [*stored, (TARGET, 99, document)]
    assert folded("task_resource", again).document == document


@given(stored("task_resource", task_resources()))
def test_unsetting_everything_leaves_nothing_and_it_can_be_set_again(stored: Stored) -> None:
    everything = ["defaults", "limits", "over_limit"]
    emptied = [*stored, (WORKFLOW, 98, {"unset": everything})]
    assert folded("task_resource", emptied).document == {}
    again = [*emptied, (TARGET, 99, {"limits": {"cpu": "1"}})]
    assert folded("task_resource", again).document == {"limits": {"cpu": "1"}}


def test_a_value_says_where_it_is_from_and_what_it_overrode_nearest_first() -> None:
    effective = folded(
        "task_resource",
        [
            (SETTINGS_FILE, 3, {"limits": {"cpu": "8"}}),
            (PLATFORM, 1, {"limits": {"memory": "1Gi"}}),
            (DOMAIN, 2, {"limits": {"cpu": "4"}}),
            (PROJECT_DOMAIN, 7, {"limits": {"cpu": "2"}}),
        ],
    )
    cpu, memory = effective.leaves["limits.cpu"], effective.leaves["limits.memory"]
    assert cpu.source == Source(PROJECT_DOMAIN, 7, "2")
    assert cpu.overrode == (Source(DOMAIN, 2, "4"), Source(SETTINGS_FILE, 3, "8"))
    assert (memory.source, memory.overrode) == (Source(PLATFORM, 1, "1Gi"), ())


def test_a_field_that_is_unset_stays_visible_with_the_record_that_unset_it() -> None:
    effective = folded(
        "task_resource",
        [(DOMAIN, 1, {"limits": {"gpu": "1"}}), (PROJECT, 2, {"unset": ["limits"]})],
    )
    assert effective.flat == {}
    assert effective.leaves["limits"].source == Source(PROJECT, 2, None)
    assert effective.leaves["limits.gpu"].source == Source(PROJECT, 2, None)
    assert effective.leaves["limits.gpu"].overrode == (Source(DOMAIN, 1, "1"),)


def test_a_value_said_below_a_group_that_was_unset_overrode_that() -> None:
    effective = folded(
        "task_resource",
        [(DOMAIN, 1, {"unset": ["limits"]}), (PROJECT, 2, {"limits": {"cpu": "1"}})],
    )
    assert effective.leaves["limits.cpu"].overrode == (Source(DOMAIN, 1, None),)


def test_unsetting_a_map_key_leaves_the_keys_that_begin_with_it() -> None:
    effective = folded(
        "cluster_resource",
        [
            (PLATFORM, 1, {"attributes": {"quota": "1", "quota.cpu": "2"}}),
            (DOMAIN, 2, {"unset": ["attributes.quota"]}),
        ],
    )
    assert effective.document == {"attributes": {"quota.cpu": "2"}}


def test_false_zero_and_the_empty_text_are_values() -> None:
    mirrored = folded("task_resource", [(PLATFORM, 1, {"mirror_limits_request": False})])
    assert mirrored.document == {"mirror_limits_request": False}
    assert folded("workflow_priority", [(PLATFORM, 1, {"priority": 0})]).flat == {"priority": 0}
    empty = folded("cluster_resource", [(PLATFORM, 1, {"attributes": {"quota": ""}})])
    assert empty.document == {"attributes": {"quota": ""}}
