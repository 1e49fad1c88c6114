"""What a writer demands of what is stored."""

import pytest

from trimtab.errors import Invalid, Stale
from trimtab_admin.settings.preconditions import (
    Absent,
    Anything,
    NoPrecondition,
    Precondition,
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
        (None, None, True, Anything()),
        ('"12"', None, True, Anything()),
    ],
)
def test_a_request_says_what_it_replaces(
    if_match: str | None, if_none_match: str | None, force: bool, parsed: Precondition
) -> None:
    assert parse(if_match, if_none_match, force) == parsed


def test_a_request_that_does_not_say_it_is_refused() -> None:
    with pytest.raises(NoPrecondition, match="force=true"):
        parse(None, None, False)


@pytest.mark.parametrize(
    ("if_match", "if_none_match"), [("*", None), ('W/"1"', None), ("x", None), (None, '"1"')]
)
def test_a_header_that_says_something_else_is_refused(
    if_match: str | None, if_none_match: str | None
) -> None:
    with pytest.raises(Invalid):
        parse(if_match, if_none_match, False)


@pytest.mark.parametrize(
    ("precondition", "stored"),
    [(Version(1), 1), (Absent(), None), (Anything(), None), (Anything(), 7)],
)
def test_what_is_stored_may_be_as_demanded(precondition: Precondition, stored: int | None) -> None:
    check(precondition, "it", stored)


@pytest.mark.parametrize(
    ("precondition", "stored", "given"),
    [(Version(1), 2, 1), (Version(1), None, 1), (Absent(), 2, None)],
)
def test_what_is_stored_may_be_another_version(
    precondition: Precondition, stored: int | None, given: int | None
) -> None:
    with pytest.raises(Stale) as raised:
        check(precondition, "it", stored)
    assert (raised.value.given, raised.value.stored) == (given, stored)
