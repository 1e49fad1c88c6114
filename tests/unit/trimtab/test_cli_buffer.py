"""The text that `trimtab edit` opens."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab import kinds
from trimtab.cli import buffer
from trimtab.cli.buffer import Inherited, Page
from trimtab.errors import Invalid, Rejected
from trimtab.levels import Scope
from trimtab.settings.fold import Record

TASK = kinds.by_name("task_resource")
CONFIG = kinds.by_name("workflow_execution_config")
SCOPE = Scope("staging", "shop")

_keys = st.sampled_from(["a", "b", "on", "1e3"])
_texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
_documents = st.fixed_dictionaries(
    {},
    optional={
        "annotations": st.dictionaries(_keys, _texts, min_size=1, max_size=3),
        "envs": st.dictionaries(st.sampled_from("abc"), _texts, min_size=1, max_size=3),
        "max_parallelism": st.integers(1, 99),
        "interruptible": st.booleans(),
        "raw_output_data_config": st.fixed_dictionaries(
            {"output_location_prefix": _texts.filter(bool)}
        ),
    },
)


def page(document: Mapping[str, Any], above: Mapping[str, Any] | None = None) -> Page:
    inherited = {path: Inherited(value, "platform") for path, value in (above or {}).items()}
    return Page(CONFIG, SCOPE, 7, document, inherited)


@settings(max_examples=40)
@given(_documents, _documents)
def test_text_that_nobody_changed_stands_for_what_is_stored(
    document: dict[str, Any], above: dict[str, Any]
) -> None:
    text = page(document, CONFIG.schema.flatten(above)).text()
    assert buffer.parse(CONFIG, SCOPE, text) == document


def test_without_its_hash_what_is_inherited_is_set_here() -> None:
    above = {
        "labels.a": "on",
        "security_context.run_as.iam_role": "*x",
        "security_context.secrets": [{"group": "g", "key": "k"}],
    }
    text = page({"labels": {"b": "1"}}, above).text()
    unused = re.compile(r".*:( \{\})?  # [A-Z].*\n|##.*\n")
    active = re.sub(r"^( *)# ", r"\1", unused.sub("", text), flags=re.MULTILINE)
    expected = {**above, "labels.b": "1"}
    assert CONFIG.schema.flatten(buffer.parse(CONFIG, SCOPE, active)) == expected


def test_an_own_value_tells_what_it_stands_instead_of() -> None:
    text = page({"max_parallelism": 5}, {"max_parallelism": 9}).text()
    assert "\nmax_parallelism: 5  # instead of 9 of platform\n" in text


def test_an_inherited_entry_stands_among_the_own_ones() -> None:
    text = page({"labels": {"b": "1"}}, {"labels.a": "x"}).text()
    assert '\nlabels:\n  # a: x  # of platform\n  b: "1"\n' in text


def test_what_is_unset_says_so_twice() -> None:
    text = page({"unset": ["max_parallelism"]}, {"max_parallelism": 9}).text()
    assert "\n# max_parallelism: 9  # of platform, unset below\n" in text
    assert "\nunset:\n- max_parallelism  # instead of 9 of platform\n" in text


def test_fields_of_other_levels_are_not_offered() -> None:
    assert "ceiling" not in Page(TASK, SCOPE, None, {}).text()
    assert "# ceiling:\n" in Page(TASK, Scope(), None, {}).text()


def test_headings_below_which_nothing_is_left_are_no_mistake() -> None:
    assert buffer.parse(CONFIG, SCOPE, "labels:\nunset:\nsecurity_context:\n  run_as:\n") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_parallelism: [", "this is not YAML in line 1"),
        ("max_parallelism:", "max_parallelism: None is not valid"),
        ("max_paralellism: 1", "allowed: the fields"),
        ("- 1", "one mapping"),
        ("a: 1\n---\nb: 1", "one mapping"),
    ],
)
def test_text_that_is_no_good_is_told(text: str, said: str) -> None:
    with pytest.raises(Rejected, match=re.escape(said)):
        buffer.parse(CONFIG, SCOPE, text)


def test_a_new_error_takes_the_place_of_the_last_one() -> None:
    once = buffer.with_error("a: 1\n", "first\nmistake")
    assert once == "#! first\n#! mistake\n\na: 1\n"
    assert buffer.with_error(once, "second") == "#! second\n\na: 1\n"
    assert buffer.without_error(once) == "a: 1\n"


@settings(max_examples=40)
@given(_documents, _documents)
def test_an_edit_that_only_one_made_is_what_both_come_to(
    base: dict[str, Any], edited: dict[str, Any]
) -> None:
    assert _same(buffer.merge(CONFIG, base, edited, base).document, edited)
    assert _same(buffer.merge(CONFIG, base, base, edited).document, edited)
    assert buffer.merge(CONFIG, base, edited, edited).conflicts == ()


def test_edits_of_two_fields_go_together() -> None:
    base = {"labels": {"a": "1", "b": "1"}, "interruptible": True}
    mine = {"labels": {"a": "2", "b": "1"}, "unset": ["interruptible"]}
    theirs = {"labels": {"a": "1"}, "interruptible": True, "max_parallelism": 4}
    merged = buffer.merge(CONFIG, base, mine, theirs)
    expected = {"labels": {"a": "2"}, "max_parallelism": 4, "unset": ["interruptible"]}
    assert (merged.document, merged.conflicts) == (expected, ())


def test_edits_of_one_field_are_a_conflict_and_mine_stays() -> None:
    merged = buffer.merge(
        CONFIG, {"max_parallelism": 1}, {"max_parallelism": 2}, {"max_parallelism": 3}
    )
    assert (merged.document, merged.conflicts) == ({"max_parallelism": 2}, ("max_parallelism",))
    removed = buffer.merge(CONFIG, {"max_parallelism": 1}, {}, {"max_parallelism": 3})
    assert (removed.document, removed.conflicts) == ({}, ("max_parallelism",))


def _same(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    def leaves(document: Mapping[str, Any]) -> Mapping[str, Any]:
        return Record.of(CONFIG, SCOPE, 1, document).flat

    return leaves(left) == leaves(right)


def test_a_wrong_key_is_found_before_anything_is_asked() -> None:
    with pytest.raises(Invalid, match="unset"):
        buffer.parse(CONFIG, SCOPE, "unset: [max_paralellism]")
