"""Reads directories of templates, each time as one consistent set."""

import hashlib
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from trimtab.errors import Rejected, Unavailable
from trimtab.templates import regular_files
from trimtab.templates.parsing import BadTemplate, parse
from trimtab.templates.regular_files import UnusableFile
from trimtab.templates.rendering import Source

MAX_FILE_BYTES = 4 * 1024 * 1024
"""More than twice the largest object that etcd stores."""
MAX_SET_BYTES = 32 * 1024 * 1024
MAX_FILES = 500
"""Files of a set: half of those of which `parsing` and `variables` keep the results."""
SETTLING_SECONDS = 0.3
"""A younger file or directory may still be written, so its set is not used yet."""
_PATIENCE_SECONDS = 3.0
"""How long a set may keep changing before that is an error."""


@dataclass(frozen=True)
class TemplateSet:
    """All templates of one or several directories, as they were at one time."""

    sources: tuple[Source, ...]

    @cached_property
    def digest(self) -> str:
        """Names and contents; two sets are equal where their digests are."""
        sha256 = hashlib.sha256()
        for file, text in self.sources:
            for part in (os.fsencode(file), text.encode()):
                sha256.update(len(part).to_bytes(8) + part)
        return sha256.hexdigest()

    @cached_property
    def characters(self) -> int:
        return sum(len(text) for _, text in self.sources)

    @cached_property
    def documents(self) -> int:
        """The number of objects. Raises `BadTemplate`."""
        return sum(len(parse(file, text).documents) for file, text in self.sources)

    @cached_property
    def kinds(self) -> frozenset[tuple[str, str]]:
        """``apiVersion`` and ``kind`` of the objects. Raises `BadTemplate`."""
        return frozenset(kind for file, text in self.sources for kind in parse(file, text).kinds)


class _File(NamedTuple):
    name: str
    path: Path
    """The file itself, after all symbolic links."""
    mode: int
    """0 where it does not exist."""
    inode: tuple[int, int]
    size: int
    modified_ns: int


class _Directory(NamedTuple):
    given: Path
    modified_ns: int
    files: tuple[_File, ...]


Look = tuple[_Directory, ...]
"""The names, types, sizes and times of files: two looks are equal for as long as none changes."""


def look(directories: Sequence[Path]) -> Look:
    """Look at the directories, which is cheap. Raises `Rejected` where one cannot be listed."""
    return tuple(map(_look_at, directories))


def read_templates(directories: Sequence[Path]) -> TemplateSet:
    """Read every ``*.yaml`` of the directories, each in ascending byte order of the names.

    A set is used if nothing has changed between a look before and one after reading it, and if no
    file and no directory of it changed within the last `SETTLING_SECONDS`: neither half of a file
    nor a mixture of two sets is read where editors, ``cp`` and ConfigMaps replace files. It takes a
    few seconds at most. Raises `Rejected`, of which `BadTemplate` names a file, and `Unavailable`
    where the files keep changing.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        before = look(directories)
        time.sleep(_unsettled_seconds(before))
        sources, problems = _read(before)
        if look(directories) == before:
            for problem in problems:  # Before, each may be the effect of a change.
                raise problem
            return TemplateSet(tuple(sources))
    raise Unavailable(f"templates {', '.join(map(str, directories))} change all the time")


def inspect_templates(directories: Sequence[Path]) -> tuple[list[Source], list[Rejected]]:
    """Return the templates that can be read now, and the problems of all others.

    Raises `Rejected` where a directory cannot be listed.
    """
    return _read(look(directories))


def refuse_shrunken(found: TemplateSet, known_documents: int) -> None:
    """Raise `Rejected` where more than half of the known objects are gone, perhaps by mistake."""
    if found.documents * 2 < known_documents:
        raise Rejected(
            f"the templates have {found.documents} objects and had {known_documents}; a set that "
            "shrinks by more than half is not used until clusterres is started again"
        )


def _look_at(directory: Path) -> _Directory:
    try:
        # Resolved once, because the directory itself may be a link that is replaced.
        path = Path(os.path.realpath(directory))
        modified_ns = path.stat().st_mtime_ns
        names = sorted(os.listdir(path), key=os.fsencode)
    except OSError as error:
        raise Rejected(f"templates {directory} cannot be read: {error.strerror}") from error
    files = (_look_at_file(path / name) for name in names if _is_template(name))
    return _Directory(directory, modified_ns, tuple(files))


def _is_template(name: str) -> bool:
    # Hidden files are those of editors and file systems, such as the link .#a.yaml to nowhere.
    return name.endswith(".yaml") and not name.startswith(".")


def _look_at_file(link: Path) -> _File:
    path = Path(os.path.realpath(link))
    try:
        found = path.stat()
    except OSError:
        return _File(link.name, path, 0, (0, 0), 0, 0)
    inode = (found.st_dev, found.st_ino)
    return _File(link.name, path, found.st_mode, inode, found.st_size, found.st_mtime_ns)


def _unsettled_seconds(found: Look) -> float:
    """Return how long to wait until the youngest file has settled; one of the future has."""
    times = [directory.modified_ns for directory in found]
    times += [file.modified_ns for directory in found for file in directory.files]
    ages = [time.time() - time_ns / 1e9 for time_ns in times]
    return max((SETTLING_SECONDS - age for age in ages if 0 <= age < SETTLING_SECONDS), default=0)


def _read(found: Look) -> tuple[list[Source], list[Rejected]]:
    """Return the templates, and the problems of those that cannot be read."""
    sizes = [file.size for directory in found for file in directory.files]
    if sum(sizes) > MAX_SET_BYTES or len(sizes) > MAX_FILES:
        given = ", ".join(str(directory.given) for directory in found)
        limits = f"{MAX_SET_BYTES:,} bytes or {MAX_FILES} files"
        return [], [Rejected(f"templates {given} have more than {limits}")]
    origins: dict[str, Path] = {}
    sources: list[Source] = []
    problems: list[Rejected] = []
    for directory in found:
        if not directory.files:
            problems.append(Rejected(f"templates {directory.given} contain no *.yaml file"))
        for file in directory.files:
            try:
                sources.append(_read_file(file, directory.given, origins))
            except BadTemplate as error:
                problems.append(error)
    return sources, problems


def _read_file(file: _File, directory: Path, origins: dict[str, Path]) -> Source:
    """Read a file, and remember its directory."""
    if (other := origins.setdefault(file.name, directory)) != directory:
        raise BadTemplate(file.name, f"is in {other} and in {directory}")
    if file.mode and not stat.S_ISREG(file.mode):  # Even to open some devices has an effect.
        type_name = regular_files.type_name(file.mode)
        raise BadTemplate(file.name, f"is {type_name}; only regular files are read")
    try:
        return Source(file.name, regular_files.read_text(file.path, MAX_FILE_BYTES))
    except UnusableFile as error:
        raise BadTemplate(file.name, error.reason) from error
