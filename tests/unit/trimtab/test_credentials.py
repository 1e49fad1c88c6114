"""Likely credentials are found by name and by text, and warnings do not repeat them."""

import pytest

from trimtab import credentials

TEXTS = [
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
    "eyJhbGciOiJIUzI1NiJ9.e30.x",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_" + "a" * 36,
    "github_pat_" + "a" * 30,
    "glpat-" + "a" * 20,
    "xoxb-1234567890-abc",
    "trimtab_abcdefghij_" + "x" * 43,
    "Bearer abcdef",
    "postgresql://admin:hunter2@db/shop",
]
NAMES = ["HF_TOKEN", "DB_PASSWORD", "PGPASSWORD", "CLIENT_SECRET", "AWS_SECRET_ACCESS_KEY"]
NAMES += ["OPENAI_API_KEY", "apikey", "MYSQL_PWD", "SSH_PRIVATE_KEY", "GOOGLE_CREDENTIALS"]
OTHERS = ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "SECRET_NAME", "PASSWORD_FILE", "KEYBOARD"]
OTHERS += ["AWS_ACCESS_KEY_ID", "AUTHOR", "SORT_KEY", "LOG_LEVEL"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_with_the_form_of_a_credential_is_one_whatever_its_name(text: str) -> None:
    assert credentials.is_likely("A", text)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_ends_as_those_of_credentials_makes_its_value_one(name: str) -> None:
    assert credentials.is_likely(name, "hunter2")


@pytest.mark.parametrize("name", OTHERS)
def test_other_names_do_not(name: str) -> None:
    assert not credentials.is_likely(name, "hunter2")


@pytest.mark.parametrize("value", ["", "/run/secrets/token", "{{ project }}"])
def test_no_value_a_path_and_a_placeholder_are_no_credentials(value: str) -> None:
    assert not credentials.is_likely("API_TOKEN", value)


@pytest.mark.parametrize("text", ["postgresql://admin@db/shop", "http://a:80/b@c", "BEGIN", "eyJ"])
def test_other_texts_are_no_credentials(text: str) -> None:
    assert not credentials.is_likely("A", text)


def test_warnings_name_the_path_and_do_not_repeat_the_text() -> None:
    nested = {"a": [{"DB_PASSWORD": "hunter2"}, "x", {"b": {"C": TEXTS[3]}}], "n": 1, "m": None}
    first, second = credentials.warnings(nested, "envs")
    assert first == (
        "envs.a.0.DB_PASSWORD looks like a credential, which every viewer can read; "
        "keep it in a secret, and name that in security_context.secrets"
    )
    assert second.startswith("envs.a.2.b.C looks like")
    assert TEXTS[3] not in second


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nats://u:a/b@c@h x", "nats://u:…@h x"),
        ("see nats://token@h:1,\nor ://:p@h", "see nats://…@h:1,\nor ://:…@h"),
        ("nats://u:p@h/nats://v:q@h", "nats://u:…@h"),
        ("no@login://h:80", "no@login://h:80"),
    ],
)
def test_passwords_of_urls_are_hidden(text: str, shown: str) -> None:
    assert credentials.without_password(text) == shown


@pytest.mark.parametrize("part", ["://:", "://a", "://a@", "@://:", "a:"])
def test_a_long_text_without_a_password_takes_no_longer_than_to_read_it(part: str) -> None:
    # A quadratic expression would take minutes.
    text = part * 200_000
    assert credentials.without_password(text)


def test_the_value_of_a_field_with_an_endless_name_is_not_shown() -> None:
    assert credentials.may_hold("x" * 1001)
    assert not credentials.may_hold("x" * 1000)
