"""Processes and sockets that tests leave behind.

Every process that a test starts inherits a mark in its environment. A process without it, such as
a task of propeller, is known by its directory, which is in that of the run. The module is also a
program, ``leftovers.py MARK DIRECTORY``, that waits for the end of its input and then kills all of
them, so that nothing remains of a run that was killed.
"""

import gc
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

MARK = "TEST_RUN"
"""A variable with the id of the run and the scope of the fixture that started the process."""
OF_A_TEST = "function"
OF_A_MODULE = ("class", "module")


class Process(NamedTuple):
    """A running process of a test, or one that the test process has not waited for."""

    pid: int
    scope: str
    """The scope of the fixture that started it."""
    name: str

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):  # not a child of this process
            os.waitpid(self.pid, 0)


class Run:
    """The processes of one test process."""

    def __init__(self, mark: str, directory: Path) -> None:
        self._mark = f"{MARK}={mark}:".encode()
        self._directory = f"{directory.resolve()}/"
        self._others = {str(os.getpid())}
        """The ids of processes that cannot belong to the run."""

    def processes(self) -> Iterator[Process]:
        """Yield what runs now, except for this process."""
        pids = _pids()
        self._others &= pids
        for pid in pids - self._others:
            with suppress(OSError):  # it has ended, or belongs to another user
                yield from self._own(pid)

    def _own(self, pid: str) -> Iterator[Process]:
        directory = Path("/proc") / pid
        status = (directory / "stat").read_text().rpartition(")")[2].split()
        if status[0] in "ZX":
            if status[1] == str(os.getpid()):
                yield Process(int(pid), OF_A_TEST, "a process that was not waited for")
            return
        words = (directory / "environ").read_bytes().split(b"\0")
        scope = self._scope(words)
        if scope is None and f"{os.readlink(directory / 'cwd')}/".startswith(self._directory):
            scope = self._scope_of_parent(status[1])
        if scope is not None:
            command = (directory / "cmdline").read_text().replace("\0", " ").strip()
            yield Process(int(pid), scope, f"{command}, started in {_test(words)}")

    def _scope(self, environment: Iterable[bytes]) -> str | None:
        marks = (word for word in environment if word.startswith(self._mark))
        return next((mark.rpartition(b":")[2].decode() for mark in marks), None)

    def _scope_of_parent(self, pid: str) -> str:
        """Return the scope of a process that has no mark, or, as Valkey does, deletes it."""
        if pid == str(os.getpid()):
            return OF_A_MODULE[-1]
        with suppress(OSError):  # it has ended, or belongs to another user
            words = (Path("/proc") / pid / "environ").read_bytes().split(b"\0")
            return self._scope(words) or OF_A_TEST
        return OF_A_TEST


def _pids() -> set[str]:
    return {name for name in os.listdir("/proc") if name.isdecimal()}


def _test(environment: Iterable[bytes]) -> str:
    """Return the test that pytest names in the environment of a process."""
    for word in environment:
        if word.startswith(b"PYTEST_CURRENT_TEST="):
            return word.partition(b"=")[2].decode()
    return "a process without the mark"


class Watched(Run):
    """The run of this test process. A guard kills its processes when it has ended in any way."""

    def __init__(self, directory: Path) -> None:
        self._id = uuid4().hex
        super().__init__(self._id, directory)
        self._sockets: dict[str, int] = {}
        command = [sys.executable, "-I", "-S", __file__, self._id, os.fspath(directory)]
        self._guard = subprocess.Popen(
            command, stdin=subprocess.PIPE, start_new_session=True, cwd="/"
        )
        self._others |= _pids()
        self._before = os.environ.get(MARK, "")
        os.environ[MARK] = f"{self._id}:{OF_A_TEST}"

    def end(self) -> None:
        """End the guard, which first kills what still runs."""
        os.environ[MARK] = self._before
        self._guard.communicate()

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Mark processes that start in the block with the scope of a fixture."""
        before, os.environ[MARK] = os.environ[MARK], f"{self._id}:{name}"
        try:
            yield
        finally:
            os.environ[MARK] = before

    def begin_module(self) -> None:
        self._sockets = sockets()

    def keep_sockets(self) -> None:
        """Let the sockets that are open stay for the session."""
        self._sockets |= sockets()

    def end_test(self, seconds: float) -> list[str]:
        """Return the processes that remain of a test, and what it did not close; kill them."""
        return [*self._end({OF_A_TEST}, seconds), *unclosed()]

    def end_module(self, seconds: float) -> list[str]:
        """Return the processes and sockets that remain of a module; kill the processes."""
        left = self._end({OF_A_TEST, *OF_A_MODULE}, seconds)
        now = sockets()
        return left + [_addresses(now[name]) for name in now.keys() - self._sockets.keys()]

    def _end(self, scopes: Iterable[str], seconds: float) -> list[str]:
        """Return the processes that do not end by themselves in so many seconds, and kill them."""
        deadline = time.monotonic() + seconds
        while left := [each for each in self.processes() if each.scope in scopes]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        for each in left:
            each.kill()
        return [each.name for each in left]


def sockets() -> dict[str, int]:
    """Return the descriptors of the open sockets of this process."""
    found = {}
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the descriptor of the listing itself
            found[os.readlink(f"/proc/self/fd/{descriptor}")] = int(descriptor)
    return {name: descriptor for name, descriptor in found.items() if name[:7] == "socket:"}


def _addresses(descriptor: int) -> str:
    """Return the addresses of an open socket."""
    with socket.socket(fileno=os.dup(descriptor)) as found:
        try:
            return f"socket from {found.getsockname()} to {found.getpeername()}"
        except OSError:
            return f"socket at {found.getsockname()}"


def unclosed() -> list[str]:
    """Delete objects that are in cycles, and return the warnings of those that were not closed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
    return [str(each.message) for each in caught]


def main(mark: str, directory: str) -> None:
    """Wait for the end of the input, and kill all processes of the run."""
    sys.stdin.buffer.read()
    run = Run(mark, Path(directory))
    while left := list(run.processes()):  # one that starts another may be killed just after it
        for each in left:
            each.kill()
        time.sleep(0.01)


if __name__ == "__main__":
    main(*sys.argv[1:])
