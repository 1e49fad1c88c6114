"""The text that `trimtab edit` opens."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab import kinds
from trimtab.cli import edit_text
from trimtab.cli.edit_text import EditableRecord, InheritedValue
from trimtab.errors import Invalid, Rejected
from trimtab.levels import Scope
from trimtab.settings.fold import Record

TASK = kinds.by_name("task_resource")
CONFIG = kinds.by_name("workflow_execution_config")
SCOPE = Scope("staging", "shop")

_keys = st.sampled_from(["a", "b", "on", "1e3"])
_texts = st.text(st.characters(exclude_categories=["Cc", "Cs"], include_characters="\t\n"))
_names = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), min_size=1)
_documents = st.fixed_dictionaries(
    {},
    optional={
        "annotations": st.dictionaries(_keys, _texts, min_size=1, max_size=3),
        "envs": st.dictionaries(st.sampled_from("abc"), _texts, min_size=1, max_size=3),
        "max_parallelism": st.integers(1, 99),
        "interruptible": st.booleans(),
        "raw_output_data_config": st.fixed_dictionaries({"output_location_prefix": _names}),
    },
)


def text_of(document: Mapping[str, Any], above: Mapping[str, Any] | None = None) -> str:
    """Return the text of a record of the project and domain; ``above`` is set at the platform."""
    inherited = {path: InheritedValue(value, "platform") for path, value in (above or {}).items()}
    return EditableRecord(CONFIG, SCOPE, 7, document, inherited).to_text()


@settings(max_examples=40)
@given(_documents, _documents)
def test_an_unchanged_text_parses_to_the_stored_document(
    document: dict[str, Any], above: dict[str, Any]
) -> None:
    text = text_of(document, CONFIG.schema.flatten(above))
    assert edit_text.parse(CONFIG, SCOPE, text) == document


def test_an_inherited_line_without_its_hash_sets_the_field() -> None:
    above = {
        "labels.a": "on",
        "security_context.run_as.iam_role": "*x",
        "security_context.secrets": [{"group": "g", "key": "k"}],
    }
    text = text_of({"labels": {"b": "1"}}, above)
    unused = re.compile(r".*:( \{\})?  # [A-Z].*\n|##.*\n")
    active = re.sub(r"^( *)# ", r"\1", unused.sub("", text), flags=re.MULTILINE)
    expected = {**above, "labels.b": "1"}
    assert CONFIG.schema.flatten(edit_text.parse(CONFIG, SCOPE, active)) == expected


def test_a_value_is_followed_by_the_value_that_it_overrides() -> None:
    text = text_of({"max_parallelism": 5}, {"max_parallelism": 9})
    assert "\nmax_parallelism: 5  # instead of 9 of platform\n" in text


def test_inherited_entries_of_a_map_are_shown_with_its_own_entries() -> None:
    text = text_of({"labels": {"b": "1"}}, {"labels.a": "x"})
    assert '\nlabels:\n  # a: x  # of platform\n  b: "1"\n' in text


def test_a_map_that_is_unset_and_has_keys_keeps_both() -> None:
    document = {"labels": {"b": "1"}, "unset": ["labels"]}
    text = text_of(document, {"labels.a": "x"})
    assert '\n  # a: x  # of platform, unset below\n  b: "1"\n' in text
    assert edit_text.parse(CONFIG, SCOPE, text) == document


def test_an_unset_path_is_marked_at_its_field_and_listed_under_unset() -> None:
    text = text_of({"unset": ["max_parallelism"]}, {"max_parallelism": 9})
    assert "\n# max_parallelism: 9  # of platform, unset below\n" in text
    assert "\nunset:\n- max_parallelism  # instead of 9 of platform\n" in text


def test_fields_of_other_levels_are_omitted() -> None:
    assert "ceiling" not in EditableRecord(TASK, SCOPE, None, {}).to_text()
    assert "# ceiling:\n" in EditableRecord(TASK, Scope(), None, {}).to_text()


def test_a_heading_without_entries_is_accepted() -> None:
    assert edit_text.parse(CONFIG, SCOPE, "labels:\nunset:\nsecurity_context:\n  run_as:\n") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_parallelism: [", "the text is not YAML in line 1"),
        ("max_parallelism:", "max_parallelism: null is not valid"),
        ("max_paralellism: 1", "allowed: the fields"),
        ("- 1", "one mapping"),
        ("a: 1\n---\nb: 1", "one mapping"),
    ],
)
def test_a_text_with_an_error_is_rejected(text: str, message: str) -> None:
    with pytest.raises(Rejected, match=re.escape(message)):
        edit_text.parse(CONFIG, SCOPE, text)


def test_a_new_error_replaces_the_previous_one() -> None:
    once = edit_text.prepend_error("a: 1\n", "first\nmistake")
    assert once == "#! first\n#! mistake\n\na: 1\n"
    assert edit_text.prepend_error(once, "second") == "#! second\n\na: 1\n"
    assert edit_text.strip_error(once) == "a: 1\n"


@settings(max_examples=40)
@given(_documents, _documents)
def test_an_edit_that_only_one_side_made_is_merged_unchanged(
    base: dict[str, Any], edited: dict[str, Any]
) -> None:
    assert _are_equal(edit_text.merge(CONFIG, base, edited, base).document, edited)
    assert _are_equal(edit_text.merge(CONFIG, base, base, edited).document, edited)
    assert edit_text.merge(CONFIG, base, edited, edited).conflicts == ()


def test_edits_of_different_fields_are_merged() -> None:
    base = {"labels": {"a": "1", "b": "1"}, "interruptible": True}
    mine = {"labels": {"a": "2", "b": "1"}, "unset": ["interruptible"]}
    theirs = {"labels": {"a": "1"}, "interruptible": True, "max_parallelism": 4}
    merged = edit_text.merge(CONFIG, base, mine, theirs)
    expected = {"labels": {"a": "2"}, "max_parallelism": 4, "unset": ["interruptible"]}
    assert (merged.document, merged.conflicts) == (expected, ())


def test_edits_of_the_same_field_are_a_conflict_and_keep_mine() -> None:
    merged = edit_text.merge(
        CONFIG, {"max_parallelism": 1}, {"max_parallelism": 2}, {"max_parallelism": 3}
    )
    assert (merged.document, merged.conflicts) == ({"max_parallelism": 2}, ("max_parallelism",))
    removed = edit_text.merge(CONFIG, {"max_parallelism": 1}, {}, {"max_parallelism": 3})
    assert (removed.document, removed.conflicts) == ({}, ("max_parallelism",))


def _are_equal(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    def leaves(document: Mapping[str, Any]) -> Mapping[str, Any]:
        return Record.of(CONFIG, SCOPE, 1, document).flat

    return leaves(left) == leaves(right)


def test_a_wrong_path_in_unset_is_rejected() -> None:
    with pytest.raises(Invalid, match="unset"):
        edit_text.parse(CONFIG, SCOPE, "unset: [max_paralellism]")
