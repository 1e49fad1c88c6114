"""Threads for work that may block for good, such as reading a file system that hangs."""

import asyncio
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Jobs = SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None]
"""``None`` ends all threads."""


class Threads:
    """Runs work in a few threads of its own.

    Python waits at the exit for threads of an executor. It does not wait for these, so a process
    can end while work hangs.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._started = 0
        self._open = 0
        self._jobs: _Jobs = SimpleQueue()
        self._end = weakref.finalize(self, self._jobs.put, None)
        self._end.atexit = False

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run work in the next free thread. Cancelling the future skips work that waits for one.

        Work that has begun goes on where the future is cancelled, and its outcome is dropped.
        """
        if not self._end.alive:
            raise RuntimeError(f"the threads {self._name} are closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._open += 1
        future.add_done_callback(self._ended)
        self._jobs.put((future, work))
        if self._started < min(self._count, self._open):
            self._started += 1
            name = f"{self._name}-{self._started}"
            threading.Thread(target=_run, args=(self._jobs,), name=name, daemon=True).start()
        return future

    def close(self) -> None:
        """End each thread after the work that it has begun, and cancel the rest."""
        if not self._end.alive:
            return
        with suppress(Empty):
            while (job := self._jobs.get_nowait()) is not None:
                job[0].cancel()
        self._end()

    def _ended(self, _future: asyncio.Future[Any]) -> None:
        self._open -= 1


def _run(jobs: _Jobs) -> None:
    while (job := jobs.get()) is not None:
        _do(*job)
        # Nothing may keep what the work refers to while the thread waits.
        del job
    jobs.put(None)  # for the next thread


def _do(future: asyncio.Future[T], work: Callable[[], T]) -> None:
    if future.cancelled():
        return
    try:
        outcome = work()
    except BaseException as error:  # noqa: BLE001  # it belongs to the caller
        _settle(future, future.set_exception, error)
    else:
        _settle(future, future.set_result, outcome)


def _settle(future: asyncio.Future[Any], settle: Callable[[T], None], outcome: T) -> None:
    def work() -> None:
        if not future.done():
            settle(outcome)

    with suppress(RuntimeError):  # the loop has ended, and no caller waits
        future.get_loop().call_soon_threadsafe(work)
