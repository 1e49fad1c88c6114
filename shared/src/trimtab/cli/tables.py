"""Tables: columns of text that can fit a width, with colours for states. Pure."""

import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

import click

from trimtab.cli.escaping import escape, to_json

_GAP: Final = "  "
_CUT: Final = "…"
_LEAST_WIDTH: Final = 8
"""No column is cut to less, and none to less than its heading."""
_KEY_WIDTH: Final = 40
"""The first column, which identifies the row, is not cut to less: an id has 36 characters."""
_COLOURED: Final = frozenset({"STATE", "PHASE"})
_COLOURS: Final = {
    **dict.fromkeys(("ready", "active", "succeeded"), "green"),
    **dict.fromkeys(("requested", "waiting", "archived", "expired", "removed"), "yellow"),
    **dict.fromkeys(("not ready", "unreachable", "failed", "refused", "revoked"), "red"),
}


class Table(NamedTuple):
    """Rows of values under headings."""

    headings: Sequence[str]
    rows: Sequence[Sequence[object]]

    def text(self, width: int | None = None, *, has_colours: bool = False) -> str:
        """Return left-aligned columns, separated by two blanks.

        With a width, the longest columns are cut where the lines would be longer.
        """
        lines = [list(self.headings), *([cell(value) for value in row] for row in self.rows)]
        widths = [max(map(display_width, column)) for column in zip(*lines, strict=True)]
        if width is not None:
            widths = _fitted(widths, self.headings, width)
        heading, *others = (_padded(line, widths) for line in lines)
        if has_colours:
            others = [self._coloured(line) for line in others]
        return "\n".join(_GAP.join(line).rstrip() for line in (heading, *others))

    def _coloured(self, line: Sequence[str]) -> list[str]:
        return [_coloured(heading, text) for heading, text in zip(self.headings, line, strict=True)]


def cell(value: object) -> str:
    """Return a value as one line; an empty value is ``-``."""
    match value:
        case None | "" | () | []:
            return "-"
        case str():
            return escape(value.replace("\n", " ").replace("\t", " "))
        case list() | tuple():
            return ", ".join(map(cell, value))
        case bool() | dict():
            return to_json(value)
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S%z}"
        case _:
            return escape(str(value))


def display_width(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for an ideograph or an emoji."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _fitted(widths: Sequence[int], headings: Sequence[str], width: int) -> list[int]:
    """Return widths whose lines fit, as far as the least width of each column allows."""
    least = [max(_LEAST_WIDTH, display_width(heading)) for heading in headings]
    least[0] = _KEY_WIDTH
    available = width - len(_GAP) * (len(widths) - 1)
    fitted = list(widths)
    for longest in range(width, 0, -1):
        fitted = [min(have, max(longest, need)) for have, need in zip(widths, least, strict=True)]
        if sum(fitted) <= available:
            break
    return fitted


def _padded(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [_pad(text, width) for text, width in zip(line, widths, strict=True)]


def _pad(text: str, width: int) -> str:
    """Return a text that is exactly so wide."""
    if display_width(text) > width:
        text = _cut(text, width - 1) + _CUT
    return text + " " * (width - display_width(text))


def _cut(text: str, width: int) -> str:
    """Return the longest beginning that is not wider."""
    used = 0
    for index, letter in enumerate(text):
        used += _width(letter)
        if used > width:
            return text[:index]
    return text


def _coloured(heading: str, text: str) -> str:
    """Return a padded cell with the colour of its state, or of an error."""
    word = text.rstrip()
    colour = _COLOURS.get(word) if heading in _COLOURED else None
    if heading == "ERROR" and word != "-":
        colour = "red"
    return text if colour is None else click.style(word, fg=colour) + text[len(word) :]
