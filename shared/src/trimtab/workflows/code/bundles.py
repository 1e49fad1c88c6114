"""Bundles: the files of a user's code, packed into one archive that is named by its hash."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from trimtab.workflows.code.archives import pack, read_archive


@dataclass(frozen=True)
class Bundle:
    """Files of code, as they were read at one time."""

    root: Path
    """The directory that the paths start from, in which the modules are found."""
    files: Mapping[str, bytes]

    @cached_property
    def content(self) -> bytes:
        """The archive of the files. Raises `Invalid` where they are too many or too large."""
        return pack(self.files)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the archive."""
        return hashlib.sha256(self.content).hexdigest()


def unpack(content: bytes, directory: Path) -> None:
    """Write the files of an archive into a directory, which must not exist yet.

    Nothing is written for an archive that is wrong in any part. Raises `Invalid`.
    """
    files = read_archive(content)
    directory.mkdir(parents=True)
    made = {""}
    for path, text in files.items():
        above = path.rpartition("/")[0]
        if above not in made:
            os.makedirs(directory / above, exist_ok=True)
            made.add(above)
        with open(directory / path, "xb") as file:
            file.write(text)
