"""Quantities obey the grammar of Kubernetes, are exact, and have one canonical text."""

import re
from decimal import ROUND_CEILING, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils import quantity as oracle

from trimtab import quantities

SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
UNKNOWN_SUFFIXES = ["1gi", "1ki", "1mi", "1K", "100K", "200Q", "123Mb", "250x", "1Gi1", "1e", "1i"]
NO_NUMBERS = ["", "-", ".", "foo", "Gi", "m", "NaN", "inf", "1.2.3", "--1", "e3"]
OTHER_NOTATIONS = ["1 Gi", " 1", "1\n", "0x10", "1_000", "1,5", "١", "1e1.5", "1e1000"]

numbers = st.one_of(
    st.integers(0, 10**15).map(str),
    st.builds("{}.{}".format, st.integers(0, 10**9), st.integers(0, 10**6)),
    st.integers(0, 10**6).map(".{}".format),
    st.integers(0, 10**6).map("{}.".format),
)
signs = st.sampled_from(["", "", "", "+", "-"])
suffixed = st.builds("{}{}{}".format, signs, numbers, st.sampled_from(SUFFIXES))
exponents = st.builds(
    "{}{}{}{}".format, signs, numbers, st.sampled_from("eE"), st.integers(-12, 12)
)
texts = suffixed | exponents


@pytest.mark.parametrize(
    ("text", "printed", "whole"),
    [
        ("0.5", "500m", 1),
        ("900m", "900m", 1),
        ("1000m", "1", 1),
        ("1.1", "1100m", 2),
        ("1500m", "1500m", 2),
        ("1.5", "1500m", 2),
        ("7000m", "7", 7),
        ("2048m", "2048m", 3),
        ("1024Mi", "1Gi", 1073741824),
        ("1000Mi", "1000Mi", 1048576000),
        ("1.5Gi", "1536Mi", 1610612736),
        ("0.5Mi", "512Ki", 524288),
        ("2048Ki", "2Mi", 2097152),
        ("2048", "2048", 2048),
        ("1.5G", "1500M", 1500000000),
        ("500M", "500M", 500000000),
        ("1e3", "1e3", 1000),
        ("1e4", "10e3", 10000),
        ("12e4", "120e3", 120000),
        ("1.5e-2", "15e-3", 1),
        ("1e6", "1e6", 1000000),
        ("100n", "100n", 1),
        ("12E", "12E", 12 * 10**18),
        ("-1500m", "-1500m", -1),
        ("+5", "5", 5),
        (".5", "500m", 1),
        ("5.", "5", 5),
        ("0Gi", "0", 0),
    ],
)
def test_a_quantity_is_printed_as_kubernetes_prints_it(text: str, printed: str, whole: int) -> None:
    assert quantities.canonical(text) == printed
    assert quantities.parse(text).to_integral_value(ROUND_CEILING) == whole


def test_equal_amounts_are_equal_whatever_their_suffixes() -> None:
    assert quantities.parse("1.5Gi") == quantities.parse("1536Mi") == Decimal(1610612736)
    assert quantities.parse("2000m") == quantities.parse("2e0") == quantities.parse("0.002k")


@pytest.mark.parametrize("text", ["0.1n", "0.0000000001", "1e-12", "0.00000000001m"])
def test_a_fraction_of_a_nano_is_rounded_up_to_one(text: str) -> None:
    assert quantities.parse(text) == Decimal("1e-9")
    assert quantities.parse("-" + text) == Decimal("-1e-9")


@pytest.mark.parametrize(
    "text",
    [*UNKNOWN_SUFFIXES, *NO_NUMBERS, *OTHER_NOTATIONS, "1" * 65],
)
def test_other_text_is_refused_with_the_text_and_what_is_allowed(text: str) -> None:
    with pytest.raises(quantities.InvalidQuantity, match=re.escape(quantities.ALLOWED)) as refused:
        quantities.parse(text)
    assert refused.value.text == text


@given(texts)
def test_the_amount_equals_that_of_the_kubernetes_library(text: str) -> None:
    # That library computes with the precision of the context, keeps fractions of a nano, and
    # accepts all that Decimal accepts ("NaN", "1_0", "1K"), so only grammatical texts are compared.
    with localcontext(prec=100):
        reference = oracle.parse_quantity(text)  # type: ignore[no-untyped-call]  # it has no annotations
        nanos = reference.copy_abs().scaleb(9).to_integral_value(ROUND_CEILING).copy_sign(reference)
        assert quantities.parse(text) == nanos.scaleb(-9)


@given(texts)
def test_the_canonical_text_is_the_same_amount_in_the_same_family(text: str) -> None:
    printed = quantities.canonical(text)
    assert quantities.parse(printed) == quantities.parse(text)
    assert quantities.canonical(printed) == printed
    assert "." not in printed


@given(st.text(max_size=12))
def test_any_text_is_a_quantity_or_is_refused(text: str) -> None:
    try:
        amount = quantities.parse(text)
    except quantities.InvalidQuantity:
        return
    assert amount == quantities.parse(quantities.canonical(text))


@given(st.integers(10**40, 10**58), st.sampled_from(SUFFIXES))
def test_amounts_with_more_digits_than_the_default_precision_stay_exact(
    number: int, suffix: str
) -> None:
    with localcontext(prec=200):
        amount = number * quantities.parse("1" + suffix)
    assert quantities.parse(f"{number}{suffix}") == amount
    assert quantities.parse(quantities.canonical(f"{number}{suffix}")) == amount
