"""A filter of system calls, which closes the ways around the rules of Landlock for TCP.

Standard library only. A socket of MPTCP or SMC, which one of TCP can become by its option
``TCP_ULP``, falls back to TCP, and a message with ``MSG_FASTOPEN`` opens a connection: Landlock
checks none of them. Calls through io_uring pass no filter.
A limit of another process that is set to 0 ends it, which is no signal to Landlock. The keyrings of
the session and of the user belong to no task alone, and are no files to Landlock.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
import sys
from typing import NamedTuple

_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_MSG_FASTOPEN = 0x20000000
_FIRST_PROTOCOL_OF_LINUX = 256
"""The protocols of IP end before it. SMC is 256, and MPTCP 262."""
_TCP_ULP = 31
_AF_SMC = 43
_X32 = 0x40000000
"""The first number of the calls of x32, which is another set on the same architecture."""

_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Offsets in ``struct seccomp_data``."""
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
"""Instructions of classic BPF: ``BPF_LD | BPF_W | BPF_ABS``, ``BPF_JMP | BPF_JEQ``, …"""


class _Machine(NamedTuple):
    """An architecture, and the numbers of its calls."""

    architecture: int
    socket: int
    sendto: int
    sendmsg: int
    sendmmsg: int
    prlimit: int
    setsockopt: int
    add_key: int
    request_key: int
    keyctl: int
    io_uring_setup: int = 425


_MACHINES = {
    "x86_64": _Machine(0xC000003E, 41, 44, 46, 307, 302, 54, 248, 249, 250),
    "aarch64": _Machine(0xC00000B7, 198, 206, 211, 269, 261, 208, 217, 218, 219),
}
_machine = _MACHINES.get(platform.machine()) if sys.byteorder == "little" else None
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_Instruction = tuple[int, int, int, int]
"""The operation, the instructions to skip if it is true, and if it is false, and its operand."""


def is_known() -> bool:
    """Return whether there is a filter for the calls of this machine."""
    return _machine is not None and _libc is not None


def install() -> None:
    """Filter the calls of this process, and of all that it starts, for good. Raises `OSError`.

    The process has to have given up new privileges.
    """
    assert _machine is not None  # is_known was called
    assert _libc is not None
    program = b"".join(struct.pack("HBBI", *each) for each in _program(_machine))
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    if _libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, header, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")


def _program(machine: _Machine) -> list[_Instruction]:
    absent = (machine.io_uring_setup, machine.add_key, machine.request_key, machine.keyctl)
    checks = [
        *(each for number in absent for each in _when(number, [_refuse(errno.ENOSYS)])),
        *_when(machine.socket, _socket()),
        *_when(machine.sendto, _fast_open(flags=3)),
        *_when(machine.sendmsg, _fast_open(flags=2)),
        *_when(machine.sendmmsg, _fast_open(flags=3)),
        *_when(machine.setsockopt, _setsockopt()),
        *_when(machine.prlimit, _prlimit()),
    ]
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, machine.architecture),
        _refuse(errno.ENOSYS),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        _refuse(errno.ENOSYS),
        *checks,
        (_RETURN, 0, 0, _ALLOW),
    ]


def _when(number: int, body: list[_Instruction]) -> list[_Instruction]:
    """Return the instructions for one call, which leave the number of another call loaded."""
    allowed = (_RETURN, 0, 0, _ALLOW)
    return [(_EQUAL, 0, len(body) + 1, number), *body, allowed]


def _socket() -> list[_Instruction]:
    return [
        _load_argument(0),
        (_EQUAL, 0, 1, _AF_SMC),
        _refuse(errno.EAFNOSUPPORT),
        (_EQUAL, 1, 0, socket.AF_INET),
        (_EQUAL, 0, 3, socket.AF_INET6),
        _load_argument(2),
        (_AT_LEAST, 0, 1, _FIRST_PROTOCOL_OF_LINUX),
        _refuse(errno.EPROTONOSUPPORT),
    ]


def _setsockopt() -> list[_Instruction]:
    return [
        _load_argument(1),
        (_EQUAL, 0, 3, socket.IPPROTO_TCP),
        _load_argument(2),
        (_EQUAL, 0, 1, _TCP_ULP),
        _refuse(errno.EACCES),
    ]


def _fast_open(flags: int) -> list[_Instruction]:
    """Return the check of a call whose flags are the argument of this number."""
    return [_load_argument(flags), (_ANY_BIT, 0, 1, _MSG_FASTOPEN), _refuse(errno.EACCES)]


def _prlimit() -> list[_Instruction]:
    """Return the check that limits are set for the calling process only, whose PID is given as 0.

    The limits of another one can be read: the pointer to new ones is null then.
    """
    return [
        _load_argument(0),
        (_EQUAL, 5, 0, 0),
        _load_argument(2),
        (_EQUAL, 0, 2, 0),
        _load_argument(2, high=True),
        (_EQUAL, 1, 0, 0),
        _refuse(errno.EACCES),
    ]


def _load_argument(number: int, *, high: bool = False) -> _Instruction:
    """Load the lower, or the higher, 32 bits of an argument."""
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * number + (4 if high else 0))


def _refuse(number: int) -> _Instruction:
    return (_RETURN, 0, 0, _ERROR | number)
