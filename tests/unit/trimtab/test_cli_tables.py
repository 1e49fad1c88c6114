"""Tables."""

import re
from datetime import UTC, datetime

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.cli.tables import Table, display_width

ERROR = "an error that is much longer than all"
LONG = Table(
    ("ID", "STATE", "REASON", "ERROR"),
    [("0" * 36, "failed", "because of a long reason", ERROR)],
)


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [("a", 1, None), ("longer", ["x", "y"], "two\nlines")]
    assert Table(("NAME", "N", "NOTE"), rows).text() == (
        "NAME    N     NOTE\na       1     -\nlonger  x, y  two lines"
    )


def test_times_have_seconds_and_a_zone() -> None:
    rows = [(datetime(2026, 11, 22, 12, 0, 5, 250_000, tzinfo=UTC),)]
    assert Table(("AT",), rows).text() == "AT\n2026-11-22 12:00:05+0000"


def test_the_longest_columns_are_cut_and_the_id_is_not() -> None:
    assert (
        LONG.text(80).splitlines()[1] == f"{'0' * 36}  failed  because of a lo…  an error that i…"
    )
    assert LONG.text(200) == LONG.text()


def test_a_column_is_not_cut_to_less_than_its_heading() -> None:
    table = Table(("NAME", "A LONG HEADING"), [("a", "b" * 30)])
    assert table.text(5) == "NAME  A LONG HEADING\na     bbbbbbbbbbbbb…"


@pytest.mark.parametrize(
    ("text", "width"), [("shop", 4), ("日本", 4), ("e\u0301", 1), ("🚀", 2), ("→…", 2)]
)
def test_a_wide_character_takes_two_columns(text: str, width: int) -> None:
    assert display_width(text) == width
    rows = [(text, "x"), ("longer", "y")]
    assert Table(("N", "M"), rows).text().splitlines()[1] == f"{text}{' ' * (8 - width)}x"


CELLS = st.text(st.characters(exclude_categories=["C", "Z", "M"]))


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1), st.integers(60, 120))
def test_every_line_fits(rows: list[tuple[str, str, str]], width: int) -> None:
    for line in Table(("A", "B", "C"), rows).text(width).splitlines():
        assert display_width(line) <= width


def test_colours_mark_states_and_errors_only() -> None:
    text = LONG.text(has_colours=True)
    assert re.findall(r"\x1b\[31m(.*?)\x1b\[0m", text) == ["failed", ERROR]
    assert click.unstyle(text) == LONG.text()
    assert "\x1b" not in Table(("NAME", "ERROR"), [("failed", None)]).text(has_colours=True)
