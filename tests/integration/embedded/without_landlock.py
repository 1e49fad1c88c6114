"""``python without_landlock.py PROGRAM ARGUMENTS``: run a program whose kernel has no Landlock.

A filter of system calls refuses its first call, as the profiles of older container engines do.
"""

import ctypes
import errno
import os
import struct
import sys

_CREATE_RULESET = 444
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2


def main() -> None:
    instructions = (
        (0x20, 0, 0, 0),  # load the number of the call
        (0x15, 0, 1, _CREATE_RULESET),  # if it is this one
        (0x06, 0, 0, 0x00050000 | errno.ENOSYS),  # refuse it
        (0x06, 0, 0, 0x7FFF0000),  # allow it
    )
    program = b"".join(struct.pack("HBBI", *each) for each in instructions)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(code))
    libc = ctypes.CDLL(None)
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, header, 0, 0) == 0
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
