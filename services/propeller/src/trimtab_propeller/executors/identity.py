"""The identity of a data directory: a file in it, so that all who share the one share the other."""

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from trimtab.errors import Rejected

_FILE = "location"
_CHARACTERS = 32


def read_or_create(data_dir: Path) -> str:
    """Return the identity of a data directory, which the first caller gives to it.

    Raises `OSError`, and `Rejected` where the file holds something else.
    """
    path = data_dir / _FILE
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        _create(path)
    identity = path.read_text(encoding="utf-8", errors="replace").strip()
    if len(identity) != _CHARACTERS or not identity.isalnum():
        raise Rejected(f"{path} does not hold the identity of a data directory, but {identity!r}")
    return identity


def _create(path: Path) -> None:
    """Create the file whole, unless another process has created it meanwhile."""
    part = path.with_name(f"{path.name}.{uuid4().hex}")
    try:
        with open(part, "x", encoding="utf-8") as file:
            file.write(uuid4().hex + "\n")
            file.flush()
            # An identity that a loss of power changes would hide the attempts from their owner.
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink(missing_ok=True)
