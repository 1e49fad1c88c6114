"""Lists in which an item that is repeated counts once, as its first occurrence. Pure."""

from collections import Counter
from collections.abc import Iterator

from pydantic import AfterValidator


def _without_repeats(items: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


ONCE = AfterValidator(_without_repeats)
"""Keeps the first occurrence of each item: ``Annotated[tuple[Text, ...], ONCE]``."""


def warnings(path: str, items: object) -> Iterator[str]:
    """Yield a warning for each item that a list has more than once; none where it is no list."""
    if isinstance(items, list | tuple):
        counts = Counter(item for item in items if isinstance(item, str))
        for item, count in counts.items():
            if count > 1:
                yield f"{path}: {item!r} is listed {count} times and counts once"
