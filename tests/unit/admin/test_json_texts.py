"""JSON texts: a long one is parsed in slices, with the result that a short one has."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import Invalid
from trimtab_admin import steps
from trimtab_admin.api import json_texts

BLANKS = " " * json_texts._LONG
"""They make any text a long one."""
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # No surrogates, which no text can hold.
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


def parsed(text: str, *, long: bool) -> Any:
    """Return the value, or that the text is refused."""
    try:
        return steps.at_once(json_texts.parse((text + BLANKS * long).encode()))
    except Invalid:
        return Invalid


@given(VALUES, st.sampled_from([None, 2]), st.booleans())
def test_a_long_text_has_the_value_of_a_short_one(
    value: object, indent: int | None, ascii: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii)
    assert parsed(text, long=True) == parsed(text, long=False) == value


@given(VALUES, st.data())
def test_a_long_text_that_is_broken_is_refused_as_a_short_one_is(
    value: object, data: st.DataObject
) -> None:
    text = json.dumps({"documents": [value, value], "other": value})
    at = data.draw(st.integers(0, len(text) - 1))
    broken = (
        text[:at] + data.draw(st.sampled_from(["", ",", "}", "]", '"', "x", "1"])) + text[at + 1 :]
    )
    assert parsed(broken, long=True) == parsed(broken, long=False)


@pytest.mark.parametrize(
    "item", ["NaN", "1e999", "9" * 5000, r'"\ud800"', "[" * 100_000, '"', "{1: 2}", "{} {}"]
)
@pytest.mark.parametrize("long", [False, True])
def test_what_cannot_be_stored_is_refused_in_a_list_too(item: str, long: bool) -> None:
    assert parsed(f'{{"documents": [{{}}, {item}]}}', long=long) is Invalid
    assert parsed(f'{{"documents": [{{}}, {{}}]}}{item}', long=long) is Invalid


@pytest.mark.parametrize(
    "text",
    ["{1: []}", '{"a" []}', '{"a": [1 2]}', '{"a": [1,]}', '{"a": [] "b": 1}', "{,}", "{}\u00a0"],
)
@pytest.mark.parametrize("long", [False, True])
def test_a_text_that_is_no_json_in_its_outer_parts_is_refused(text: str, long: bool) -> None:
    assert parsed(text, long=long) is Invalid


def test_the_documents_of_a_long_text_are_parsed_in_slices() -> None:
    documents = [{"number": number} for number in range(10 * steps.SIZE)]
    text = json.dumps({"prune": "", "documents": documents}).encode()
    assert sum(1 for _ in json_texts.parse(text)) == 9


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"a": 1, "a": 2}', "a"),
        ('{"a": 1, "\\u0061": 1}', "a"),
        ('{"limits": {"cpu": "1", "gpu": "2", "cpu": "3"}}', "limits.cpu"),
        (
            '{"documents": [{}, {"document": {"a.b": {"c": [0, {"d": 1, "d": 1}]}}}]}',
            "documents.1.document.a.b.c.1.d",
        ),
        ('[{"a": {"b": 1, "b": 1}}, {"a": 1}]', "0.a.b"),
    ],
)
@pytest.mark.parametrize("long", [False, True])
def test_a_repeated_key_is_refused_by_its_path(text: str, path: str, long: bool) -> None:
    with pytest.raises(Invalid, match="each key once in an object") as caught:
        steps.at_once(json_texts.parse((text + BLANKS * long).encode()))
    assert caught.value.path == path


@pytest.mark.parametrize("long", [False, True])
def test_a_repeated_key_hides_no_number_that_is_too_long(long: bool) -> None:
    text = '{"o": {"a": {"b": 1, "b": 1}, "n": ' + "9" * 5000 + "}}"
    assert parsed(text, long=long) is Invalid


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("ab")), max_size=4))
def test_an_object_is_accepted_exactly_if_it_repeats_no_key(pairs: list[tuple[str, str]]) -> None:
    text = "{" + ", ".join(f'"{key}": {{"{inner}": 0}}' for key, inner in pairs) + "}"
    names = [key for key, _inner in pairs]
    expected: object = {key: {inner: 0} for key, inner in pairs}
    for long in (False, True):
        assert parsed(text, long=long) == (expected if len(set(names)) == len(names) else Invalid)
