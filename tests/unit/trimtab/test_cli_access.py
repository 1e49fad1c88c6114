"""Times and durations of the options ``--expires``, ``--grace`` and ``--since``."""

from datetime import UTC, datetime, timedelta

import pytest

from trimtab.cli.access import parse_duration, parse_future_time, parse_past_time
from trimtab.errors import Invalid

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("12h", 43_200), ("90d", 7_776_000), ("2w", 1_209_600)],
)
def test_a_number_with_a_unit_counts_from_now(text: str, seconds: int) -> None:
    assert parse_duration("--grace", text) == timedelta(seconds=seconds)
    assert parse_future_time("--expires", text, NOW) == NOW + timedelta(seconds=seconds)
    assert parse_past_time("--since", text, NOW) == NOW - timedelta(seconds=seconds)


def test_a_time_without_a_zone_is_local() -> None:
    zoned = parse_future_time("--expires", "2027-06-30T12:00+02:00", NOW)
    assert zoned == datetime(2027, 6, 30, 10, 0, tzinfo=UTC)
    local = datetime(2027, 6, 30, 12, 0).astimezone()
    assert parse_past_time("--since", "2027-06-30T12:00", NOW) == local


@pytest.mark.parametrize(
    "text", ["", "90", "d", "-1d", "1.5h", "999999w", "tomorrow", "2027-13-01"]
)
def test_a_text_that_is_no_time_is_rejected_with_an_example(text: str) -> None:
    for parse in (parse_future_time, parse_past_time):
        with pytest.raises(Invalid, match="such as 90d") as caught:
            parse("--expires", text, NOW)
        assert (caught.value.path, caught.value.value) == ("--expires", text)
    with pytest.raises(Invalid):
        parse_duration("--grace", text)


def test_the_longest_duration_does_not_overflow() -> None:
    assert parse_future_time("--expires", "99999w", NOW).year > 3000
    assert parse_past_time("--since", "99999w", NOW).year < 300
