"""Errors of the user's code, with the file and the line that they come from."""

import traceback
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from trimtab.errors import Rejected


class BadModule(Rejected):
    """The file is not a Python module that defines workflows."""

    def __init__(self, path: Path, reason: str, line: int | None = None) -> None:
        position = "" if line is None else f", line {line}"
        super().__init__(f"{path}{position}: {reason}")
        self.path = path
        self.reason = reason
        self.line = line


class Place(NamedTuple):
    """A line of the user's code."""

    path: Path
    line: int | None


def line_of(error: BaseException, path: Path) -> int | None:
    """Return the innermost line of the file in the traceback of the error, if there is one."""
    place = place_of(error, {str(path)})
    return None if place is None else place.line


def place_of(error: BaseException, paths: Collection[str]) -> Place | None:
    """Return the innermost line in the traceback of the error that is in one of the files.

    A syntax error is in the text that Python could not read, where no frame is.
    """
    if isinstance(error, SyntaxError) and error.filename in paths:
        return Place(Path(error.filename or ""), error.lineno)
    frames = traceback.extract_tb(error.__traceback__)
    found = (Place(Path(f.filename), f.lineno) for f in reversed(frames) if f.filename in paths)
    return next(found, None)


def describe_error(error: BaseException) -> str:
    """Return the last line of a traceback, ``ValueError: no rows``; for `Rejected`, its message."""
    if isinstance(error, Rejected):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"is not Python: {error.msg}"
    return "".join(traceback.format_exception_only(error)).strip()


def shown_path(path: Path) -> Path:
    """Return the path below the working directory, if it is there."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
