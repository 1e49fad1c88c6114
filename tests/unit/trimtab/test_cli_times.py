"""Times on the command line."""

from datetime import UTC, datetime, timedelta

import pytest

from trimtab.cli import times
from trimtab.errors import Invalid

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("12h", 43_200), ("90d", 7_776_000), ("2w", 1_209_600)],
)
def test_a_number_and_a_unit_is_counted_from_now(text: str, seconds: int) -> None:
    assert times.duration("--grace", text) == timedelta(seconds=seconds)
    assert times.after("--expires", text, NOW) == NOW + timedelta(seconds=seconds)
    assert times.before("--since", text, NOW) == NOW - timedelta(seconds=seconds)


def test_a_time_is_itself_and_without_a_zone_that_of_this_machine() -> None:
    given = times.after("--expires", "2027-06-30T12:00+02:00", NOW)
    assert given == datetime(2027, 6, 30, 10, 0, tzinfo=UTC)
    local = datetime(2027, 6, 30, 12, 0).astimezone()
    assert times.before("--since", "2027-06-30T12:00", NOW) == local


@pytest.mark.parametrize(
    "text", ["", "90", "d", "-1d", "1.5h", "999999w", "tomorrow", "2027-13-01"]
)
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    for read in (times.after, times.before):
        with pytest.raises(Invalid, match="such as 90d") as caught:
            read("--expires", text, NOW)
        assert (caught.value.path, caught.value.value) == ("--expires", text)
    with pytest.raises(Invalid):
        times.duration("--grace", text)


def test_the_longest_time_is_one_that_can_be_told() -> None:
    assert times.after("--expires", "99999w", NOW).year > 3000
    assert times.before("--since", "99999w", NOW).year < 300
