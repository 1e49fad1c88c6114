"""Lists in which an item that is repeated counts once, as its first occurrence. Pure."""

from collections.abc import Iterator

from pydantic import AfterValidator


def _without_repeats(items: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


ONCE = AfterValidator(_without_repeats)
"""Keeps the first occurrence of each item: ``Annotated[tuple[Text, ...], ONCE]``."""


def warnings(path: str, items: object) -> Iterator[str]:
    """Yield a warning for each item that a list has more than once; none where it is no list."""
    if isinstance(items, list | tuple):
        texts = [item for item in items if isinstance(item, str)]
        for item in dict.fromkeys(texts):
            if texts.count(item) > 1:
                yield f"{path}: {item!r} is listed {texts.count(item)} times and counts once"
