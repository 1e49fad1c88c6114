"""Reads files that others may replace, truncate or point elsewhere at any time."""

import os
import stat
from pathlib import Path

from trimtab.errors import Rejected


class UnusableFile(Rejected):
    """A file cannot be read as text."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.reason = reason


def read_text(path: Path, max_bytes: int) -> str:
    """Return the text of a regular file. Raises `UnusableFile`.

    A FIFO, a device or a directory is never waited for. A file system that does not answer still
    blocks, so call it in a thread.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise UnusableFile(path, f"is {type_name(mode)}; only regular files are read")
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise UnusableFile(path, f"cannot be read: {error.strerror or error}") from error
    if len(content) > max_bytes:
        raise UnusableFile(path, f"has more than {max_bytes:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UnusableFile(path, "is not UTF-8") from error


def type_name(mode: int) -> str:
    """Return what a file is that is not a regular one, with its article."""
    names = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return names.get(stat.S_IFMT(mode), "a device")
