"""Preconditions: parsed from headers, and checked against the stored version."""

import pytest

from trimtab.errors import Invalid, Stale
from trimtab_admin.settings.preconditions import (
    Absent,
    AnyVersion,
    Precondition,
    PreconditionRequired,
    Version,
    check,
    parse,
)


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "force", "parsed"),
    [
        ('"12"', None, False, Version(12)),
        (" 12 ", None, False, Version(12)),
        (None, "*", False, Absent()),
        (None, None, True, AnyVersion()),
        ('"12"', None, True, Version(12)),
        (None, "*", True, Absent()),
    ],
)
def test_headers_or_force_give_a_precondition(
    if_match: str | None, if_none_match: str | None, force: bool, parsed: Precondition
) -> None:
    assert parse(if_match, if_none_match, force) == parsed


def test_a_request_without_a_precondition_is_rejected() -> None:
    with pytest.raises(PreconditionRequired, match="force=true"):
        parse(None, None, False)


@pytest.mark.parametrize(
    ("if_match", "if_none_match"),
    [("*", None), ('W/"1"', None), ("x", None), (None, '"1"'), ('"1"', "*")],
)
def test_a_malformed_header_is_rejected(if_match: str | None, if_none_match: str | None) -> None:
    with pytest.raises(Invalid):
        parse(if_match, if_none_match, False)


@pytest.mark.parametrize(
    ("precondition", "stored"),
    [(Version(1), 1), (Absent(), None), (AnyVersion(), None), (AnyVersion(), 7)],
)
def test_a_matching_version_meets_the_precondition(
    precondition: Precondition, stored: int | None
) -> None:
    check(precondition, "it", stored)


@pytest.mark.parametrize(
    ("precondition", "stored", "given"),
    [(Version(1), 2, 1), (Version(1), None, 1), (Absent(), 2, None)],
)
def test_another_version_is_stale(
    precondition: Precondition, stored: int | None, given: int | None
) -> None:
    with pytest.raises(Stale) as raised:
        check(precondition, "it", stored)
    assert (raised.value.given, raised.value.stored) == (given, stored)
