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
_MAX_PAIRS = 24
"""How many pairs of neighbours of a long name are counted."""
_MAX_LENGTH = 1000
"""A longer text is no misspelt name."""
_MAX_CHARACTERS = 150_000
"""In how many characters of known names the pairs are counted."""


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return the few known names that are most like the name, the nearest first.

    The case of letters does not count. Of very many names, few are compared, so that a server can
    do this between other requests.
    """
    if len(name) > _MAX_LENGTH:
        return []
    folded = name.casefold()
    pairs = _pairs(folded)
    candidates = heapq.nlargest(
        _COMPARED,
        _likely(folded, list(known)),
        key=lambda other: sum(map(f" {other.casefold()} ".__contains__, pairs)),
    )
    by_folded = {other.casefold(): other for other in reversed(candidates)}
    found = difflib.get_close_matches(folded, by_folded, _NEAREST)
    return [by_folded[other] for other in found]


def _likely(folded: str, known: Sequence[str]) -> Sequence[str]:
    """Return the known names; if they are too many, those that have a half of the name.

    A name with one mistake in it has one half without.
    """
    if sum(map(len, known)) <= _MAX_CHARACTERS:
        return known
    middle = len(folded) // 2
    first, second = folded[:middle], folded[middle:]
    found, characters = [], 0
    for other in known:
        if first in other.casefold() or second in other.casefold():
            found.append(other)
            characters += len(other)
            if characters > _MAX_CHARACTERS:
                break
    return found


def question(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name, empty where no known one is alike."""
    near = nearest(name, known)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def _pairs(text: str) -> list[str]:
    """Return pairs of neighbours, spread over the text and its two ends."""
    ended = f" {text} "
    pairs = list(dict.fromkeys(ended[at : at + 2] for at in range(len(ended) - 1)))
    return pairs[:: -(-len(pairs) // _MAX_PAIRS)]


def listed(known: Sequence[str]) -> str:
    """Return the names as text, of many only the first ones with the number of the others."""
    others = len(known) - MAX_LISTED
    text = ", ".join(known[:MAX_LISTED])
    return f"{text} and {others} more" if others > 0 else text
