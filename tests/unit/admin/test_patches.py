"""JSON merge patch of documents whose fields have three states."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import kinds
from trimtab.errors import Invalid
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
        ({"limits": {"cpu": "1"}}, ["limits.gpu", "labels.a.b", "defaults"]),
        ({"limits": {"gpu": None}}, ["labels.a.b", "defaults"]),
        ({"limits": {"gpu": "1"}}, ["labels.a.b", "defaults"]),
        ({"limits": None}, ["labels.a.b", "defaults"]),
        ({"labels": {"a.b": None}}, ["limits.gpu", "defaults"]),
        ({"labels": None, "limits": None, "defaults": None}, []),
        ({"unset": ["tags"]}, ["tags"]),
        ({"unset": None}, []),
    ],
)
def test_null_and_values_remove_a_path_from_unset(patch: Any, unset: list[str]) -> None:
    document = {"unset": ["limits.gpu", "labels.a.b", "defaults"]}
    assert merge(document, patch).get("unset", []) == unset


def test_a_part_of_an_atomic_field_removes_the_field_from_unset() -> None:
    is_atomic = kinds.by_name("plugin_override").schema.is_atomic
    document = {"unset": ["overrides.spark", "overrides.ray"]}
    patch = {"overrides": {"spark": {"plugin_id": ["a"]}}}
    assert merge(document, patch, is_atomic) == {**patch, "unset": ["overrides.ray"]}


def test_a_value_in_a_group_does_not_remove_the_group_from_unset() -> None:
    assert merge({"unset": ["limits"]}, {"limits": {"cpu": "1"}})["unset"] == ["limits"]


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
