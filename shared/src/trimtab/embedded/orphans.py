"""Processes that lose their parent: ours end with us, and those of a dead service come to us.

Both are calls of the Linux kernel; elsewhere they do nothing.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36

# Loaded before any fork: between fork and exec a child must not take locks of the loader.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def end_with_parent() -> None:
    """Called in a child before its exec: be killed when the parent ends, however it ends."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def adopt() -> None:
    """Become the parent of every descendant whose own parent ends.

    Tasks run in sessions of their own, to survive the service that started them; without this
    nobody would know them when the whole system stops.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children() -> dict[int, str]:
    """Our children and the state of each as in ``/proc/<pid>/stat``; ``Z`` has ended."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name, in parentheses, may hold anything.
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid():
                found[int(entry.parent.name)] = state
    return found


def bury(ended: set[int]) -> None:
    """Forget children that have ended."""
    for pid in ended:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def send(pid: int, how: signal.Signals) -> None:
    """To the whole group, where the process leads one."""
    with suppress(ProcessLookupError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, how)
        else:
            os.kill(pid, how)
