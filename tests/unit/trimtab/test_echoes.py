"""The part of a value that a message repeats."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.echoes import HIDDEN, echo
from trimtab.errors import Invalid


def test_a_short_value_is_repeated_unchanged() -> None:
    for value in (None, True, 3, 1.5, "2x", ["a"], {"a": 1}):
        assert echo("limits.cpu", value) == value


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
    assert echo(path, "hunter2") == HIDDEN
    assert echo(path, None) is None


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
def test_a_value_that_looks_like_a_secret_is_not_repeated(value: object) -> None:
    text = json.dumps(echo("field", value))
    assert "hunter2" not in text
    assert "x" * 43 not in text
    assert not {"abcdef", "PRIVATE", "hbGci"} & set(text.replace('"', " ").split())


def test_a_long_value_is_cut() -> None:
    assert echo("field", "x" * 1000) == "x" * 200 + "… (1000 characters)"
    assert echo("field", list(range(1000))) == "a list of 1000"
    assert echo("field", {str(n): n for n in range(1000)}) == "an object of 1000 fields"
    assert echo("field", [[[[[]]]]]) == [[["a list of 1"]]]
    assert echo("field", b"\xff" * 9) == "9 bytes"
    assert echo("field", 10**5000) == "a number of more than 63 bits"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.text(), ANYTHING)
def test_any_value_can_be_repeated_in_json(path: str, value: object) -> None:
    body = json.dumps(echo(path, value), allow_nan=False, ensure_ascii=False)
    assert len(body.encode()) < 2_000_000


def test_half_of_a_surrogate_pair_can_be_repeated_in_json() -> None:
    body = json.dumps(echo("field", "a\ud800"), ensure_ascii=False).encode()
    assert body.startswith(b'"a')


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nats://trimtab:hun/ter@2@h:4222", "nats://trimtab:…@h:4222"),
        ("nats://a:hunter2@h,nats://b:hunter2@i", "nats://a:…@i"),
        ("nats://hunter2@h", "nats://…@h"),
        ("http://h/users/a@b.c", "http://h/users/a@b.c"),
    ],
)
def test_a_url_is_repeated_without_its_password(text: str, shown: str) -> None:
    assert echo("field", text) == shown


def test_the_path_of_a_secret_is_no_secret() -> None:
    assert echo("token_file", "/etc/token") == "/etc/token"


def test_the_message_of_an_error_has_no_secret() -> None:
    assert "hunter2" not in str(Invalid("tokens.yaml: envs.DATABASE", "hunter2", "a name"))
    assert "'2x'" in str(Invalid("tokens.yaml: limits.cpu", "2x", "a quantity"))


def test_the_value_at_an_endless_path_is_not_shown() -> None:
    assert echo("a." * 5000 + "a", 1) == HIDDEN
    assert echo("a." * 4999 + "a", 1) == 1
