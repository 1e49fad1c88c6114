"""State of the process that a test could leave changed for all tests after it."""

import locale
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping

from tests.leftovers import MARK

_OF_PYTEST = {"PYTEST_CURRENT_TEST", MARK}
"""Variables of the environment that are different in each test."""
_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE)

State = Mapping[str, object]


def state() -> State:
    """Return the state by the names of its parts."""
    found: dict[str, object] = {
        "the current directory": os.getcwd(),
        "the path of imports": tuple(sys.path),
        "the locale": locale.setlocale(locale.LC_ALL),
        "the timeout of sockets": socket.getdefaulttimeout(),
        "the level below which nothing is logged": logging.root.manager.disable,
    }
    for name in os.environ.keys() - _OF_PYTEST:
        found[f"the variable {name}"] = os.environ[name]
    for number in _SIGNALS:
        found[f"the handler of {number.name}"] = signal.getsignal(number)
    found.update(_loggers())
    return found


def _loggers() -> Iterator[tuple[str, object]]:
    """Yield the state of each logger that is not as `logging` makes them."""
    for name, logger in [("root", logging.root), *logging.root.manager.loggerDict.items()]:
        if isinstance(logger, logging.Logger):
            # pytest has handlers of its own, and only while a test runs.
            handlers = [h for h in logger.handlers if not type(h).__module__.startswith("_pytest")]
            shown = (logger.level, logger.disabled, logger.propagate, tuple(handlers))
            if shown != (logging.NOTSET, False, True, ()):
                yield f"the logger {name}", shown


def changes(before: State, after: State) -> list[str]:
    """Return a line for each part that is not as it was."""
    absent = "nothing"
    return [
        f"{name} was {before.get(name, absent)!r} and is {after.get(name, absent)!r}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name, absent) != after.get(name, absent)
    ]


def new_threads(before: set[threading.Thread], seconds: float) -> list[str]:
    """Return the names of threads that were not there and do not end in so many seconds."""
    deadline = time.monotonic() + seconds
    while left := {thread for thread in threading.enumerate() if thread.is_alive()} - before:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return [f"the thread {thread.name}" for thread in left]
