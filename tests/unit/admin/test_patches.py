"""JSON merge patch of documents whose fields have three states."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import kinds
from trimtab.errors import Invalid
from trimtab.levels import PLATFORM
from trimtab.settings.fold import Record
from trimtab_admin.settings.patches import check_removals, merge

_SCALARS = st.booleans() | st.integers() | st.text() | st.lists(st.integers())
_NAMES = st.sampled_from(["cpu", "gpu", "labels", "limits", "tags"])
DOCUMENTS = st.recursive(
    st.dictionaries(_NAMES, _SCALARS), lambda inner: st.dictionaries(_NAMES, inner | _SCALARS)
)
PATCHES = st.recursive(
    st.dictionaries(_NAMES, _SCALARS | st.none()),
    lambda inner: st.dictionaries(_NAMES, inner | _SCALARS | st.none()),
)


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        # The examples with objects of RFC 7396, appendix A.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_objects_merge_as_in_the_standard(document: Any, patch: Any, result: Any) -> None:
    assert merge(document, patch) == result


@pytest.mark.parametrize(
    ("patch", "unset"),
    [
        ({"overwrite_cache": True}, ["labels.team", "labels.team.io/x", "security_context.run_as"]),
        ({"labels": {"team": None}}, ["labels.team.io/x", "security_context.run_as"]),
        ({"labels": {"team": "a"}}, ["labels.team.io/x", "security_context.run_as"]),
        ({"labels": {"team.io/x": None}}, ["labels.team", "security_context.run_as"]),
        ({"labels": None}, ["security_context.run_as"]),
        ({"security_context": None}, ["labels.team", "labels.team.io/x"]),
        ({"labels": None, "security_context": {"run_as": None}}, []),
        ({"unset": ["interruptible"]}, ["interruptible"]),
        ({"unset": None}, []),
    ],
)
def test_null_and_values_remove_a_path_from_unset(patch: Any, unset: list[str]) -> None:
    document = {"unset": ["labels.team", "labels.team.io/x", "security_context.run_as"]}
    schema = kinds.by_name("workflow_execution_config").schema
    assert merge(document, patch, schema).get("unset", []) == unset


def test_a_part_of_an_atomic_field_removes_the_field_from_unset() -> None:
    schema = kinds.by_name("plugin_override").schema
    document = {"unset": ["overrides.spark", "overrides.ray"]}
    patch = {"overrides": {"spark": {"plugin_id": ["a"]}}}
    assert merge(document, patch, schema) == {**patch, "unset": ["overrides.ray"]}


def test_a_value_in_a_group_does_not_remove_the_group_from_unset() -> None:
    schema = kinds.by_name("task_resource").schema
    patched = merge({"unset": ["limits"]}, {"limits": {"cpu": "1"}}, schema)
    assert patched["unset"] == ["limits"]


# What a key may be mistaken for: a path, a list, a text in quotes, another key with more behind it.
KEYS = st.sampled_from(["a", "a.b", "a.b.c", 'a."b"', "a,b", "a\\.b", '["a"]']) | st.text(
    st.sampled_from("ab.,\"'\\ []"), min_size=1, max_size=4
)
STATES = st.dictionaries(KEYS, st.none() | st.sampled_from("12"), max_size=6)
"""By key: the value, and ``None`` for a key that is unset."""


@given(STATES, STATES, st.booleans())
def test_a_patch_changes_the_keys_that_it_names_and_no_other(
    before: dict[str, str | None], patch: dict[str, str | None], remove_all: bool
) -> None:
    kind = kinds.by_name("cluster_resource")
    stored = Record.read(kind, PLATFORM, 1, document_of(before), {})
    changes = {"attributes": None if remove_all else patch}
    merged = Record.read(kind, PLATFORM, 2, merge(stored.document, changes, kind.schema), {})
    expected = {} if remove_all else {key: v for key, v in before.items() if key not in patch}
    if not remove_all:
        expected |= {key: value for key, value in patch.items() if value is not None}
    assert state_of(merged) == expected


@given(STATES)
def test_keys_of_any_text_are_read_back_from_a_document_and_from_lists(
    state: dict[str, str | None],
) -> None:
    kind = kinds.by_name("cluster_resource")
    document = document_of(state)
    in_lists = {**document, "unset": [["attributes", key] for key in state if state[key] is None]}
    record = Record.read(kind, PLATFORM, 1, document, {})
    assert record == Record.read(kind, PLATFORM, 1, in_lists, {})
    assert record.document == Record.read(kind, PLATFORM, 1, record.document, {}).document
    assert state_of(record) == state


def document_of(state: Mapping[str, str | None]) -> dict[str, Any]:
    values = {key: value for key, value in state.items() if value is not None}
    unset = [f"attributes.{key}" for key, value in state.items() if value is None]
    return {"attributes": values, "unset": unset}


def state_of(record: Record) -> dict[str, str | None]:
    """Return the state of the map, read without paths."""
    document = record.document
    unset = [path.removeprefix("attributes.") for path in document.get("unset", ())]
    return {**document.get("attributes", {}), **dict.fromkeys(unset)}


@pytest.mark.parametrize(
    ("kind", "patch", "path", "nearest"),
    [
        ("task_resource", {"limitz": None}, "limitz", "limits"),
        ("task_resource", {"limits": {"cpuu": None}}, "limits.cpuu", "cpu"),
        (
            "plugin_override",
            {"overrides": {"a": {"plugin": None}}},
            "overrides.a.plugin",
            "plugin_id",
        ),
    ],
)
def test_null_for_a_field_that_no_record_has_is_refused(
    kind: str, patch: dict[str, Any], path: str, nearest: str
) -> None:
    with pytest.raises(Invalid, match=f"did you mean {nearest!r}") as caught:
        check_removals(kinds.by_name(kind).value, patch)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("task_resource", {"limits": None, "defaults": {"cpu": None}, "unset": None}),
        ("cluster_resource", {"attributes": {"anything": None}}),
        ("plugin_override", {"overrides": {"a": None, "b": {"plugin_id": None}}}),
        ("workflow_execution_config", {"security_context": {"run_as": {"iam_role": None}}}),
    ],
)
def test_null_for_a_field_that_a_record_can_have_is_accepted(
    kind: str, patch: dict[str, Any]
) -> None:
    check_removals(kinds.by_name(kind).value, patch)


@given(DOCUMENTS, PATCHES)
def test_a_patch_is_idempotent(document: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merge(document, patch)
    assert merge(once, patch) == once


@given(DOCUMENTS)
def test_an_empty_patch_changes_nothing(document: dict[str, Any]) -> None:
    assert merge(document, {}) == document


@given(DOCUMENTS)
def test_a_patch_with_null_for_every_field_leaves_an_empty_document(
    document: dict[str, Any],
) -> None:
    assert merge(document, dict.fromkeys(document)) == {}
