"""YAML that people write is read strictly, and costs no more than its length."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trimtab import yaml_texts
from trimtab.cli import escaping
from trimtab.yaml_texts import MAX_ALIASED, MAX_DEPTH, YamlError

SCALARS = st.none() | st.booleans() | st.integers() | st.text() | st.floats(-1e9, 1e9)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


def value_of(text: str) -> Any:
    [document] = yaml_texts.parse("the file", text)
    return document["a"]


def error_of(text: str) -> str:
    with pytest.raises(YamlError) as caught:
        yaml_texts.parse("the file", text)
    return str(caught.value)


@given(VALUES)
@example({"\x85": "a\x85b", "\u2028": "\r\n"})
@example({"1e3": "12e4567", "1.5": ".5e1"})
def test_what_the_command_line_writes_is_read_back(value: Any) -> None:
    assert yaml_texts.parse("the file", escaping.to_yaml(value)) == [value]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("=", "="),
        ("089", "089"),
        ("1e3", 1000.0),
        ("5.0", 5.0),
        ("0x10", 16),
        ("yes", True),
        ("~", None),
        ('"\\ud83d\\ude00"', "\U0001f600"),
    ],
)
def test_a_scalar_has_a_type_of_json(text: str, value: object) -> None:
    assert value_of(f"a: {text}") == value


def test_keys_are_text_as_it_is_written() -> None:
    assert list(value_of("a: {1: x, on: x, ~: x, 2024-01-01: x, 1.0: x}")) == [
        "1",
        "on",
        "~",
        "2024-01-01",
        "1.0",
    ]


def test_a_mapping_that_is_merged_may_be_overridden_and_merged_again() -> None:
    text = "b: &b {x: 1, y: 2}\nc: &c {<<: *b, x: 3}\na: {<<: *c, z: 4}"
    assert value_of(text) == {"x": 3, "y": 2, "z": 4}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [x", "the file is not YAML in line 1, column 6: expected"),
        ("a: b\nc: \x07", "the file is not YAML in line 2, column 4: the character"),
        ("a: b\n? [c, d]\n: e", "the file, line 2, column 3: a key is text, not a list"),
        ("a: &a {cpu: *a}", "the file, line 1, column 13: an alias contains itself"),
        ("a: x\na: y", "the file, line 2, column 1: the key 'a' is given twice"),
        ('1: x\n"1": y', "the file, line 2, column 1: the key '1' is given twice"),
        ('"\\ud83d\\ude00": x\n\U0001f600: y', "the file, line 2, column 1: the key"),
        ("a: .nan", "the file, line 1, column 4: '.nan' is no float that can be stored"),
        ("a: 1e999", "the file, line 1, column 4: '1e999' is no float that can be stored"),
        ("a: 0x_", "the file, line 1, column 4: '0x_' is no int that can be stored"),
        ("a: !!bool x", "the file, line 1, column 4: 'x' is no bool that can be stored"),
        ('a: "\\ud800"', "the file, line 1, column 4: '\\ud800' is no str that can be stored"),
        ("a: !!set {x}", "the file is not YAML in line 1, column 4: could not determine"),
        ("a: *b", "the file is not YAML in line 1, column 4: found undefined alias"),
    ],
)
def test_an_error_is_one_sentence_with_line_and_column(text: str, message: str) -> None:
    assert error_of(text).startswith(message)


@pytest.mark.parametrize("text", ["a: " + "9" * 5000, "a: *" + "b" * 5000, "a: !" + "b" * 5000])
def test_an_error_is_short_however_long_the_text_is(text: str) -> None:
    assert len(error_of(text)) < 300


def test_values_may_be_nested_as_deep_as_the_limit() -> None:
    yaml_texts.parse("the file", "[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert "line 1, column 101: values are nested more than 100 levels deep" in error_of(
        "[" * (MAX_DEPTH + 1)
    )


def test_aliases_nest_no_deeper_than_the_limit() -> None:
    lines = ["a0: &a0 []", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 200))]
    assert "line 100, column" in error_of("\n".join(lines))


def test_aliases_stand_for_a_limited_number_of_values() -> None:
    text = "a: &a [" + "x," * 99 + "]\nb: [" + "*a," * (MAX_ALIASED // 100)
    yaml_texts.parse("the file", f"{text}]")
    yaml_texts.parse("the file", f"{text}]\n---\n{text}]")
    assert "may stand for at most 10,000 values" in error_of(f"{text}*a]")


def test_an_empty_text_has_no_document_and_one_of_several_is_refused() -> None:
    assert yaml_texts.parse_one("the file", "# nothing") is None
    with pytest.raises(yaml_texts.Rejected, match="the file holds 2 documents"):
        yaml_texts.parse_one("the file", "a: b\n---\nc: d")
