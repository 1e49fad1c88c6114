"""Slices: long work in parts, between which the event loop serves other calls.

However many tasks have long work, they take turns: one slice of one of them runs in a round of the
event loop, so that a short call waits for a few slices at most.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import islice
from typing import TypeVar
from weakref import WeakKeyDictionary

from trimtab_admin import steps
from trimtab_admin.steps import Steps

SIZE = steps.SIZE

T = TypeVar("T")


async def turn() -> None:
    """Wait for the turn of the next slice; the caller's turn lasts until its next ``await``."""
    loop = asyncio.get_running_loop()
    turns = _turns.get(loop)
    if turns is None:
        turns = _turns[loop] = asyncio.Lock()
    await turns.acquire()
    # In the next round of the loop, after the slice.
    loop.call_soon(turns.release)


async def of(items: Iterable[T], size: int = SIZE) -> AsyncIterator[list[T]]:
    """Yield the items in lists of at most ``size``, each in a turn of its own."""
    iterator = iter(items)
    while True:
        await turn()
        if not (part := list(islice(iterator, size))):
            return
        yield part


async def run(work: Steps[T], check: Callable[[], None] = lambda: None) -> T:
    """Do the work of a generator, each further slice in a turn of its own; return its result.

    ``check`` is called at the start of each turn. The work ends with the error that it raises,
    because what the work reads has changed in the meantime.
    """
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        await turn()
        check()


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
"""A lock for each event loop, which is held for the duration of a slice."""
