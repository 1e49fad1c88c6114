"""Changes of the process that a test leaves are found and named."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import global_state
from tests.servers import PATIENCE_SECONDS

LOGGER = logging.getLogger(__name__)


def ignore(*_: object) -> None: ...


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda: os.chdir("/"), "the current directory"),
        (lambda: os.environ.update(TRIMTAB_URL="x"), "the variable TRIMTAB_URL"),
        (lambda: signal.signal(signal.SIGHUP, ignore), "the handler of SIGHUP"),
        (lambda: socket.setdefaulttimeout(5), "the timeout of sockets"),
        (lambda: setattr(LOGGER, "disabled", True), f"the logger {__name__}"),
        (lambda: logging.disable(), "the level below which nothing is logged"),
    ],
)
def test_a_change_is_named(
    change: Callable[[], object], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_URL", "before")
    directory, handler = Path.cwd(), signal.getsignal(signal.SIGHUP)
    before = global_state.state()
    assert global_state.changes(before, global_state.state()) == []
    try:
        change()
        [line] = global_state.changes(before, global_state.state())
    finally:
        os.chdir(directory)
        signal.signal(signal.SIGHUP, handler)
        socket.setdefaulttimeout(None)
        logging.disable(logging.NOTSET)
        LOGGER.disabled = False
    assert line.startswith(f"{name} was ")


def test_a_thread_that_goes_on_is_named() -> None:
    before, end = set(threading.enumerate()), threading.Event()
    thread = threading.Thread(target=end.wait, name="reader")
    thread.start()
    assert global_state.new_threads(before, 0) == ["the thread reader"]
    end.set()
    assert global_state.new_threads(before, PATIENCE_SECONDS) == []
