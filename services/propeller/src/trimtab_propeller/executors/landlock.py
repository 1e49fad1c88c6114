"""Landlock of Linux: a process gives up files, TCP ports and other processes for good.

Standard library only. Numbers and structures are those of ``linux/landlock.h``. What is given up
stays so for every process that the calling one starts, whatever its user.
"""

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress

COMPLETE_ABI = 6
"""The first version that restricts all of files, TCP, signals and abstract sockets."""
TCP_ABI = 4
"""The first version that restricts TCP."""

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_VERSION = 1
_PATH_RULE, _PORT_RULE = 1, 2
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
"""The rights that a rule for something else than a directory may have."""
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_ANY_PORT = 0
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def abi() -> int:
    """Return the version of Landlock that this process can use; 0 where it can use none."""
    if _libc is None:
        return 0
    found: int = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _GET_VERSION)
    return max(0, found)


def ruleset_of_ports(ports: Iterable[int]) -> int:
    """Return a descriptor with a rule for each port that may be used. Raises `OSError`.

    A process may connect to these ports, and listen on them and on what the kernel chooses: on the
    port of a server that restarts, it would get the credentials of the server's clients.

    Landlock has no ranges. Each process that is restricted gets a copy of the rules: 10,000 take
    2 ms and 0.5 MB of the kernel's memory, and all 65,535 take 20 ms and 3 MB.
    """
    ruleset = _create_ruleset(_REFER, _BIND_TCP | _CONNECT_TCP, 0)
    # A ruleset that does not allow to move files to another directory forbids it.
    _add_path(ruleset, "/", _REFER)
    rule = (ctypes.c_uint64 * 2)(_BIND_TCP, _ANY_PORT)  # struct landlock_net_port_attr
    _call(_ADD_RULE, ruleset, _PORT_RULE, ctypes.byref(rule), 0)
    rule[0] = _BIND_TCP | _CONNECT_TCP
    for port in ports:
        rule[1] = port
        _call(_ADD_RULE, ruleset, _PORT_RULE, ctypes.byref(rule), 0)
    return ruleset


def forbid_new_privileges() -> None:
    """Let no program that this process executes gain privileges. Raises `OSError`."""
    assert _libc is not None  # a kernel with an ABI is that of Linux
    arguments = (ctypes.c_ulong(n) for n in (1, 0, 0, 0))
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, *arguments))


def restrict(abi: int, readable: Sequence[str], writable: Sequence[str], ports: int | None) -> None:
    """Give up all files but these, all other processes, and all ports but those of a ruleset.

    What lies below a directory may be used like itself; a path that cannot be found is left out.
    `forbid_new_privileges` has to come first. Raises `OSError`.
    """
    handled = _file_rights(abi)
    scoped = _ABSTRACT_SOCKETS | _SIGNALS if abi >= COMPLETE_ABI else 0
    ruleset = _create_ruleset(handled, 0, scoped)
    for path in readable:
        _add_path(ruleset, path, _READ)
    for path in writable:
        _add_path(ruleset, path, handled)
    _call(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    if ports is not None:
        # Each call copies the rules of those before it, so the longest one comes last.
        _call(_RESTRICT_SELF, ports, 0)


def _file_rights(abi: int) -> int:
    """Return the rights to files that a version knows."""
    rights = _REFER - 1
    for right, first in ((_REFER, 2), (_TRUNCATE, 3), (_IOCTL_DEV, 5)):
        rights |= right if abi >= first else 0
    return rights


def _create_ruleset(files: int, ports: int, scoped: int) -> int:
    # A kernel that knows fewer fields accepts the others where they are 0.
    attributes = struct.pack("QQQ", files, ports, scoped)
    return _call(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)


def _add_path(ruleset: int, path: str, rights: int) -> None:
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                rights &= _OF_FILES
            rule = struct.pack("=Qi", rights, descriptor)  # struct landlock_path_beneath_attr
            _call(_ADD_RULE, ruleset, _PATH_RULE, rule, 0)
        finally:
            os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    assert _libc is not None  # a kernel with an ABI is that of Linux
    return _check(_libc.syscall(number, *arguments))


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result
