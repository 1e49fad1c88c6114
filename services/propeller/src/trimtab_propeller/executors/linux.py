"""Calls of Linux that Python does not offer, for the executor ``process``. Standard library only.

Elsewhere the requests to the kernel have no effect, and no process has descendants.
"""

import ctypes
import os
import signal
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CAPABILITIES_VERSION = 0x20080522
_CAP_DAC_OVERRIDE = 1 << 1
_ENDED = frozenset({"X", "Z"})
"""The states of a process that has ended and is not reaped yet."""
_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.2


def adopt_orphans() -> None:
    """Become the parent of each descendant whose own parent ends."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def signal_at_end_of(parent: int, number: signal.Signals) -> bool:
    """Have the kernel send this process a signal when its parent ends.

    Return whether the parent still is this one, since the signal is not sent otherwise.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(number))
    return os.getppid() == parent


def drop_capabilities() -> None:
    """Give up all capabilities but the one to use files of other users. Raises `OSError`.

    A service that runs as root may have its interpreter in a directory of another user.
    """
    if _libc is None:
        return
    header = struct.pack("Ii", _CAPABILITIES_VERSION, 0)
    sets = ctypes.create_string_buffer(24)  # effective, permitted, inheritable, each in two parts
    if _libc.capget(header, sets) == 0:
        effective, permitted, *_ = struct.unpack("6I", sets.raw)
        kept = (effective & _CAP_DAC_OVERRIDE, permitted & _CAP_DAC_OVERRIDE, 0, 0, 0, 0)
        if _libc.capset(header, struct.pack("6I", *kept)) == 0:
            return
    number = ctypes.get_errno()
    raise OSError(number, f"capabilities: {os.strerror(number)}")


def pid_namespace() -> str:
    """Return the PID namespace of this process, or an empty text where the system has none."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def start_time(pid: int) -> str:
    """Return when a process of this PID namespace started, in ticks; empty where it has ended.

    A PID and this time name one process; the PID alone is given to another one later.
    """
    fields = _stat(str(pid))
    return fields[19] if fields else ""


def is_running(pid: int, start_time: str) -> bool:
    """Return whether the process runs that was given the PID at this time, in ticks."""
    fields = _stat(str(pid))
    return bool(fields) and fields[19] == start_time and fields[0] not in _ENDED


def descendants(ancestor: int) -> list[int]:
    """Return the children of a process, their children and so on."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found, unvisited = [], [ancestor]
    while unvisited:
        below = children.get(unvisited.pop(), [])
        found += below
        unvisited += below
    return found


def end_descendants() -> None:
    """Kill and reap every descendant of this process, which has to adopt orphans."""
    pause = _FIRST_PAUSE_SECONDS
    while _reap_ended():
        for pid in descendants(os.getpid()):
            send(pid, signal.SIGKILL)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, unless it has ended or belongs to another user."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _reap_ended() -> bool:
    """Reap the children that have ended, and return whether there are others."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _parents() -> Iterator[tuple[int, int]]:
    """Yield each process with its parent."""
    with suppress(FileNotFoundError):
        for name in os.listdir("/proc"):
            if name.isdigit() and (fields := _stat(name)):
                yield int(name), int(fields[1])


def _stat(pid: str) -> list[str]:
    """Return ``/proc/<pid>/stat`` from the third field on; nothing where the process has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name of the command, in parentheses, may contain any character.
            return file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return []
