"""The fold obeys the rules of inheritance, compared with an oracle that shares no code with it."""

from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import kinds
from trimtab.levels import PLATFORM, SETTINGS_FILE, Level, Scope
from trimtab.settings.fold import Effective, Record, Source, fold

TARGET = Scope("development", "alpha", "train", "nightly")
DOMAIN, PROJECT, PROJECT_DOMAIN, WORKFLOW = TARGET.chain[2:6]

Document = dict[str, Any]  # A document as JSON.
Stored = list[tuple[Scope, int, Document]]  # Broadest first, with revisions.

RESOURCES = ["cpu", "gpu", "memory", "ephemeral_storage"]
# Paths are joined with dots, so some keys contain dots, and some begin with another key.
KEYS = ["quota", "quota.cpu", "quota.cpu.max", "team"]
ANY_KEYS = [*KEYS, 'quota."cpu"', "quota,cpu", "quota.\\", 'a["quota"]']
TASK_TYPES = ["spark", "spark.3", "ray"]
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=3)
WORDS = st.sampled_from(["a", "b"])
# A record sets one of these fields, which unsets the other.
OTHER = {"tier": "queueing_budget", "queueing_budget": "tier"}


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
    _draw_map(draw, document, unset, "attributes", ANY_KEYS, TEXTS)
    return document | ({"unset": unset} if unset else {})


@st.composite
def plugin_overrides(draw: st.DrawFn) -> Document:
    """Values of the map are objects, and a narrower one replaces the whole broader one."""
    plugins = st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True)
    behaviors = st.sampled_from(["FAIL", "USE_DEFAULT"])
    entries = st.one_of(
        plugins.map(lambda ids: {"plugin_id": ids}),
        behaviors.map(lambda behavior: {"missing_plugin_behavior": behavior}),
    )
    document: Document = {}
    unset: list[str] = []
    _draw_map(draw, document, unset, "overrides", TASK_TYPES, entries)
    return document | ({"unset": unset} if unset else {})


@st.composite
def execution_configs(draw: st.DrawFn) -> Document:
    """Documents with nested groups, maps, and lists, which are replaced as a whole."""
    document: Document = {}
    unset: list[str] = []
    context: Document = {}
    if draw(st.integers(0, 3)) == 0:
        unset.append("security_context")
    else:
        _draw_members(draw, context, unset, "run_as", ["iam_role", "execution_identity"], WORDS)
        unset = [f"security_context.{path}" for path in unset]
        if draw(st.booleans()):
            context["secrets"] = [{"group": group} for group in draw(st.sets(WORDS, min_size=1))]
    if context:
        document["security_context"] = context
    for parent in ("labels", "annotations"):
        _draw_map(draw, document, unset, parent, KEYS, WORDS)
    return document | ({"unset": unset} if unset else {})


def qualities_of_service() -> st.SearchStrategy[Document]:
    return st.one_of(
        st.sampled_from(["HIGH", "LOW"]).map(lambda tier: {"tier": tier}),
        st.sampled_from(["1s", "600s"]).map(lambda budget: {"queueing_budget": budget}),
        st.lists(st.sampled_from(["tier", "queueing_budget"]), unique=True).map(
            lambda unset: {"unset": unset} if unset else {}
        ),
    )


def _draw_members(
    draw: st.DrawFn,
    document: Document,
    unset: list[str],
    parent: str,
    names: list[str],
    values: st.SearchStrategy[Any],
) -> None:
    for name in names:
        match draw(st.sampled_from(["absent", "absent", "unset", "present"])):
            case "unset":
                unset.append(f"{parent}.{name}")
            case "present":
                document.setdefault(parent, {})[name] = draw(values)


def _draw_map(
    draw: st.DrawFn,
    document: Document,
    unset: list[str],
    parent: str,
    names: list[str],
    values: st.SearchStrategy[Any],
) -> None:
    """Draw a map whose keys are set or unset, or that is unset, with or without keys of its own."""
    keys: list[str] = []
    _draw_members(draw, document, keys, parent, names, values)
    unset += [parent] if draw(st.integers(0, 3)) == 0 else keys


@st.composite
def stored(draw: st.DrawFn, kind: str, documents: st.SearchStrategy[Document]) -> Stored:
    levels = kinds.by_name(kind).levels | {Level.SETTINGS}
    scopes = [scope for scope in TARGET.chain if scope.level in levels and draw(st.booleans())]
    revisions = draw(st.permutations(range(1, len(scopes) + 1)))
    return [
        (scope, revision, draw(documents))
        for scope, revision in zip(scopes, revisions, strict=True)
    ]


def narrowest(kind: str) -> Scope:
    return [scope for scope in TARGET.chain if scope.level in kinds.by_name(kind).levels][-1]


def folded(kind: str, stored: Stored) -> Effective:
    """Return the effective value that the product computes."""
    found = kinds.by_name(kind)
    return fold(found, TARGET, [Record.of(found, *each) for each in stored])


def sources_of(stored: Stored, parent: str, name: str) -> list[Source]:
    """The oracle: each record that sets or unsets a field, narrowest first.

    It reads the nested documents. The first source decides: it has the value of the field, or
    ``None`` where it unsets the field.
    """
    found = []
    groups = parent.split(".") if parent else []
    containers = {".".join(groups[:depth]) for depth in range(1, len(groups) + 1)}
    path = ".".join([*groups, name])
    for scope, revision, document in reversed(stored):
        holder = document
        for group in groups:
            holder = holder.get(group, {})
        if name in holder:
            found.append(Source(scope, revision, holder[name]))
        elif OTHER.get(path) in document or {path, *containers} & set(document.get("unset", [])):
            found.append(Source(scope, revision, None))
    return found


def check(effective: Effective, stored: Stored, fields: list[tuple[str, str]]) -> None:
    expected: Document = {}
    for parent, name in fields:
        sources = sources_of(stored, parent, name)
        if sources and sources[0].value is not None:
            holder = expected
            for group in parent.split(".") if parent else []:
                holder = holder.setdefault(group, {})
            holder[name] = sources[0].value
        path = f"{parent}.{name}" if parent else name
        if path in effective.leaves:
            leaf = effective.leaves[path]
            assert [leaf.source, *leaf.overrode] == sources
    assert effective.document == expected


@given(stored("task_resource", task_resources()))
def test_groups_and_scalars_are_folded_as_the_oracle_folds_them(stored: Stored) -> None:
    fields = [(group, name) for group in ("defaults", "limits") for name in RESOURCES]
    check(folded("task_resource", stored), stored, [*fields, ("", "over_limit")])


@given(stored("cluster_resource", cluster_resources()))
def test_maps_are_folded_by_key(stored: Stored) -> None:
    check(folded("cluster_resource", stored), stored, [("attributes", name) for name in ANY_KEYS])


@given(stored("plugin_override", plugin_overrides()))
def test_objects_in_a_map_are_replaced_as_a_whole(stored: Stored) -> None:
    check(folded("plugin_override", stored), stored, [("overrides", name) for name in TASK_TYPES])


@given(stored("workflow_execution_config", execution_configs()))
def test_nested_groups_maps_and_lists_are_folded_in_one_document(stored: Stored) -> None:
    fields = [("security_context.run_as", "iam_role")]
    fields += [("security_context.run_as", "execution_identity"), ("security_context", "secrets")]
    fields += [(parent, name) for parent in ("labels", "annotations") for name in KEYS]
    check(folded("workflow_execution_config", stored), stored, fields)


@given(stored("quality_of_service", qualities_of_service()))
def test_the_narrowest_of_alternatives_wins(stored: Stored) -> None:
    fields = [("", "tier"), ("", "queueing_budget")]
    check(folded("quality_of_service", stored), stored, fields)


DOCUMENTS = {
    "task_resource": task_resources(),
    "cluster_resource": cluster_resources(),
    "plugin_override": plugin_overrides(),
    "workflow_execution_config": execution_configs(),
    "quality_of_service": qualities_of_service(),
}
EVERY_SHAPE = pytest.mark.parametrize("name", DOCUMENTS)
fewer = hypothesis.settings(max_examples=40)


@EVERY_SHAPE
@fewer
@given(st.data())
def test_a_record_returns_the_document_that_it_was_made_from(
    name: str, data: st.DataObject
) -> None:
    kind = kinds.by_name(name)
    for scope, revision, document in data.draw(stored(name, DOCUMENTS[name])):
        record = Record.of(kind, scope, revision, document)
        assert Record.of(kind, scope, revision, record.document) == record
        assert record.document == kind.to_document(kind.parse(document, scope))


def test_without_records_the_effective_value_is_empty() -> None:
    effective = folded("task_resource", [])
    assert (effective.leaves, effective.document) == ({}, {})
    assert effective.value.model_dump(exclude_unset=True) == {}


@EVERY_SHAPE
@fewer
@given(st.data())
def test_an_empty_record_changes_nothing(name: str, data: st.DataObject) -> None:
    records = data.draw(stored(name, DOCUMENTS[name]))
    before = folded(name, records)
    narrower: tuple[Scope, int, Document] = (narrowest(name), 99, {})
    broader: tuple[Scope, int, Document] = (SETTINGS_FILE, 99, {})
    assert folded(name, [broader, *records, narrower]).leaves == before.leaves


@EVERY_SHAPE
@fewer
@given(st.data())
def test_storing_the_effective_value_does_not_change_it(name: str, data: st.DataObject) -> None:
    records = data.draw(stored(name, DOCUMENTS[name]))
    document = folded(name, records).document
    assert folded(name, [*records, (narrowest(name), 99, document)]).document == document


@given(stored("task_resource", task_resources()))
def test_a_narrower_record_can_set_again_what_a_broader_one_unset(
    stored: Stored,
) -> None:
    everything = ["defaults", "limits", "over_limit"]
    emptied = [*stored, (WORKFLOW, 98, {"unset": everything})]
    assert folded("task_resource", emptied).document == {}
    again = [*emptied, (TARGET, 99, {"limits": {"cpu": "1"}})]
    assert folded("task_resource", again).document == {"limits": {"cpu": "1"}}


def test_a_leaf_has_its_source_and_the_sources_that_it_overrode_narrowest_first() -> None:
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


def test_an_unset_field_stays_visible_with_the_record_that_unset_it() -> None:
    effective = folded(
        "task_resource",
        [(DOMAIN, 1, {"limits": {"gpu": "1"}}), (PROJECT, 2, {"unset": ["limits"]})],
    )
    assert effective.flat == {}
    assert effective.leaves["limits"].source == Source(PROJECT, 2, None)
    assert effective.leaves["limits.gpu"].source == Source(PROJECT, 2, None)
    assert effective.leaves["limits.gpu"].overrode == (Source(DOMAIN, 1, "1"),)


def test_a_value_set_below_an_unset_group_overrode_the_unsetting() -> None:
    effective = folded(
        "task_resource",
        [(DOMAIN, 1, {"unset": ["limits"]}), (PROJECT, 2, {"limits": {"cpu": "1"}})],
    )
    assert effective.leaves["limits.cpu"].overrode == (Source(DOMAIN, 1, None),)


def test_unsetting_a_map_key_keeps_the_keys_that_begin_with_it() -> None:
    effective = folded(
        "cluster_resource",
        [
            (PLATFORM, 1, {"attributes": {"quota": "1", "quota.cpu": "2"}}),
            (DOMAIN, 2, {"unset": ["attributes.quota"]}),
        ],
    )
    assert effective.document == {"attributes": {"quota.cpu": "2"}}


def test_a_map_that_is_unset_and_has_keys_is_replaced() -> None:
    records: Stored = [
        (PLATFORM, 1, {"labels": {"a": "1", "b": "1"}}),
        (PROJECT, 2, {"unset": ["labels"], "labels": {"b": "2", "c": "2"}}),
    ]
    effective = folded("workflow_execution_config", records)
    assert effective.document == {"labels": {"b": "2", "c": "2"}}
    sources = {path: (leaf.source, *leaf.overrode) for path, leaf in effective.leaves.items()}
    assert sources == {
        "labels": (Source(PROJECT, 2, None),),
        "labels.a": (Source(PROJECT, 2, None), Source(PLATFORM, 1, "1")),
        "labels.b": (Source(PROJECT, 2, "2"), Source(PLATFORM, 1, "1")),
        "labels.c": (Source(PROJECT, 2, "2"),),
    }


def test_a_narrower_record_adds_keys_to_a_map_that_was_replaced() -> None:
    records: Stored = [
        (PLATFORM, 1, {"labels": {"a": "1"}}),
        (PROJECT, 2, {"unset": ["labels"], "labels": {"b": "2"}}),
        (WORKFLOW, 3, {"labels": {"a": "3"}}),
    ]
    effective = folded("workflow_execution_config", records)
    assert effective.document == {"labels": {"a": "3", "b": "2"}}


def test_a_tier_unsets_a_broader_budget_and_is_its_source() -> None:
    effective = folded(
        "quality_of_service",
        [(DOMAIN, 1, {"queueing_budget": "600s"}), (PROJECT, 2, {"tier": "LOW"})],
    )
    assert effective.document == {"tier": "LOW"}
    budget = effective.leaves["queueing_budget"]
    assert budget.source == Source(PROJECT, 2, None)
    assert budget.overrode == (Source(DOMAIN, 1, "600s"),)


def test_one_key_of_a_map_can_be_unset() -> None:
    effective = folded(
        "plugin_override",
        [
            (
                DOMAIN,
                1,
                {"overrides": {"spark": {"plugin_id": ["a"]}, "ray": {"plugin_id": ["b"]}}},
            ),
            (PROJECT, 2, {"unset": ["overrides.spark"]}),
        ],
    )
    assert effective.document == {"overrides": {"ray": {"plugin_id": ["b"]}}}


def test_false_zero_and_the_empty_text_are_values() -> None:
    mirrored = folded("task_resource", [(PLATFORM, 1, {"mirror_limits_request": False})])
    assert mirrored.document == {"mirror_limits_request": False}
    assert folded("workflow_priority", [(PLATFORM, 1, {"priority": 0})]).flat == {"priority": 0}
    empty = folded("cluster_resource", [(PLATFORM, 1, {"attributes": {"quota": ""}})])
    assert empty.document == {"attributes": {"quota": ""}}
