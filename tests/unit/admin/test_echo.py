"""What an error repeats of a value."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab_admin.api.echo import HIDDEN, shown


def test_a_value_is_shown_as_it_is() -> None:
    for value in (None, True, 3, 1.5, "2x", ["a"], {"a": 1}):
        assert shown("limits.cpu", value) == value


@pytest.mark.parametrize(
    "path",
    [
        "envs.DATABASE_URL",
        "environment.X",
        "attributes.api_key",
        "security_context.secrets.0",
        "password",
        "attributes.github-token",
    ],
)
def test_a_field_that_may_be_a_secret_is_not_repeated(path: str) -> None:
    assert shown(path, "hunter2") == HIDDEN
    assert shown(path, None) is None


@pytest.mark.parametrize(
    "value",
    [
        "Bearer abcdef",
        "trimtab_abcdefghij_" + "x" * 43,
        "-----BEGIN RSA PRIVATE KEY-----",
        "eyJhbGciOiJIUzI1NiJ9.e30.x",
        "postgresql://admin:hunter2@db/trimtab",
        {"name": "x", "clientSecret": "hunter2"},
        [{"envs": {"A": "hunter2"}}],
    ],
)
def test_what_looks_like_a_secret_is_not_repeated(value: object) -> None:
    text = json.dumps(shown("field", value))
    assert "hunter2" not in text
    assert "x" * 43 not in text
    assert not {"abcdef", "PRIVATE", "hbGci"} & set(text.replace('"', " ").split())


def test_what_is_long_is_cut() -> None:
    assert shown("field", "x" * 1000) == "x" * 200 + "… (1000 characters)"
    assert shown("field", list(range(1000))) == "a list of 1000"
    assert shown("field", {str(n): n for n in range(1000)}) == "an object of 1000 fields"
    assert shown("field", [[[[[]]]]]) == [[["a list of 1"]]]
    assert shown("field", b"\xff" * 9) == "9 bytes"
    assert shown("field", 10**5000) == "a number of more than 63 bits"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.text(), ANYTHING)
def test_whatever_was_sent_can_be_answered(path: str, value: object) -> None:
    answer = json.dumps(shown(path, value), allow_nan=False, ensure_ascii=False)
    assert len(answer.encode()) < 2_000_000


def test_half_a_character_can_be_answered() -> None:
    answer = json.dumps(shown("field", "a\ud800"), ensure_ascii=False).encode()
    assert answer.startswith(b'"a')
