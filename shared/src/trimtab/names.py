"""The names that a misspelt one may stand for. Pure."""

import difflib
import heapq
from collections.abc import Iterable, Sequence

MAX_LISTED = 10
"""How many names a message lists."""
_NEAREST = 3
"""How many names are suggested."""
_COMPARED = 50
"""How many names are compared exactly, which takes a hundred times as long as counting pairs."""


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return the few known names that are most like the name, the nearest first.

    The case of letters does not count. The time is linear in the number of known names.
    """
    folded = name.casefold()
    pairs = _pairs(folded)
    candidates = heapq.nlargest(
        _COMPARED, known, key=lambda other: len(pairs & _pairs(other.casefold()))
    )
    by_folded = {other.casefold(): other for other in reversed(candidates)}
    found = difflib.get_close_matches(folded, by_folded, _NEAREST)
    return [by_folded[other] for other in found]


def question(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name, empty where no known one is alike."""
    near = nearest(name, known)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def _pairs(text: str) -> set[tuple[str, str]]:
    """Return the pairs of neighbours, with one for each end of the text."""
    return set(zip(f" {text}", f"{text} ", strict=True))


def listed(known: Sequence[str]) -> str:
    """Return the names as text, of many only the first ones with the number of the others."""
    others = len(known) - MAX_LISTED
    text = ", ".join(known[:MAX_LISTED])
    return f"{text} and {others} more" if others > 0 else text
