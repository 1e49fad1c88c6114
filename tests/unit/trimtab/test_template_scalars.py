"""Expected values are those of sigs.k8s.io/yaml 1.3.0, which kubectl and Flyte read with."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.templates import scalars


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1000", 1000),
        ("010", 8),
        ("0o10", 8),
        ("0x1F", 31),
        ("-0b11", -3),
        ("1_000", 1000),
        ("+5", 5),
        ("08", 8),
        ("1e3", 1000),
        ("1E3", 1000),
        ("0.1e1", 1),
        ("5.", 5),
        ("1.0", 1),
        (".5", 0.5),
        ("1e22", 1e22),
        ("18446744073709551615", 2**64 - 1),
        ("99999999999999999999", 10**20),
        ("y", True),
        ("NO", False),
        ("off", False),
        ("~", None),
        ("null", None),
        ("", None),
    ],
)
def test_a_plain_scalar_has_the_value_that_kubectl_reads(text: str, value: object) -> None:
    found = scalars.resolve(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "text",
    [
        "1:30",
        "12:30:45",
        "2024-01-01",
        "2001-12-14t21:59:43.10-05:00",
        "5Ti",
        "100m",
        "tRue",
        "1e999",
        "0x",
        "-",
        ".",
        "=",
        "_1",
        "1" * 5000,
        "0x" + "1" * 5000,
        " 5",
        "5\n",
        "٣",
    ],
)
def test_what_only_looks_like_another_type_stays_text(text: str) -> None:
    assert scalars.resolve(text) == text


def test_infinite_numbers_are_distinguished_from_text() -> None:
    assert scalars.resolve("-.inf") == -math.inf
    assert math.isnan(float(str(scalars.resolve(".NaN"))))


@given(st.integers(min_value=-(2**63), max_value=2**64 - 1))
def test_every_integer_of_64_bits_is_exact(number: int) -> None:
    assert scalars.resolve(str(number)) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_keeps_its_value(number: float) -> None:
    assert scalars.resolve(repr(number)) == number
