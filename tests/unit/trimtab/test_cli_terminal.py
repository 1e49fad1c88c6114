"""Tables."""

from datetime import UTC, datetime

from trimtab.cli.terminal import table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [("a", 1, None), ("longer", ["x", "y"], "two\nlines")]
    assert table(("NAME", "N", "NOTE"), rows) == (
        "NAME    N     NOTE\na       1     -\nlonger  x, y  two lines"
    )


def test_times_have_seconds_and_a_zone() -> None:
    rows = [(datetime(2026, 11, 22, 12, 0, 5, 250_000, tzinfo=UTC),)]
    assert table(("AT",), rows) == "AT\n2026-11-22 12:00:05+0000"
