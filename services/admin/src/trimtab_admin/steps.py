"""Steps: long work as a generator that yields after each slice. Pure.

`trimtab_admin.slices` runs it in turns with other tasks; `at_once` runs it without a pause.
"""

from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")

SIZE = 100
"""The most items that are handled between two yields: some milliseconds, whatever is done to each.

A request takes a few turns of the event loop, and waits for one slice in each of them."""

LIGHT = 5000
"""The same where an item only takes a look, so that a pause would take longer than the work."""

Steps = Generator[None, None, T]
"""Work that yields after each slice and then returns its result."""


def each(function: Callable[[T], U], items: Iterable[T], size: int = SIZE) -> Steps[list[U]]:
    """Call a function for each item, in slices, and return the results."""
    results = []
    for number, item in enumerate(items, 1):
        results.append(function(item))
        if number % size == 0:
            yield
    return results


def at_once(steps: Steps[T]) -> T:
    """Do all of the work without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
