"""The embedded cluster: a directory with one manifest per object, each written atomically."""

import asyncio
import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from trimtab.errors import Conflict, Invalid, Unavailable
from trimtab_clusterres import scalars
from trimtab_clusterres.render import Manifest

_OTHER_BREAKS = re.compile("[\r\x85\u2028\u2029\ufeff]")
_FILE_NAME = re.compile(r"(?!\.)[^/\\\x00-\x1f\x7f\ud800-\udfff]+")


class DirectoryCluster:
    """``<root>/<namespace>/<Kind>-<name>.yaml``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def apply(self, namespace: str, manifests: Sequence[Manifest]) -> int:
        """Write what differs from what is there, in order, and return how many files that were.

        Raises `Invalid` on a name that cannot be a file's, `Conflict` where two objects need the
        same file, both before anything is written, and `Unavailable` where writing fails.
        """
        # Flushing to the disk takes milliseconds, and writing out a large value longer.
        return await asyncio.to_thread(self._apply, namespace, manifests)

    def _apply(self, namespace: str, manifests: Sequence[Manifest]) -> int:
        directory = self._root / _file_name("namespace", namespace)
        contents: dict[Path, bytes] = {}
        for manifest in manifests:
            stem = _file_name("object", f"{manifest.kind}-{manifest.name}")
            path = directory / f"{stem}.yaml"
            if path in contents:
                raise Conflict(f"two objects {manifest} of different API groups need {path.name}")
            contents[path] = dump(manifest)
        return _write_all(directory, contents)


def dump(manifest: Manifest) -> bytes:
    """YAML that go-yaml reads back as the same values. Raises `Invalid` on too deep a nesting."""
    try:
        text: str = yaml.dump(
            manifest.body, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000
        )
    except RecursionError as error:
        raise Invalid("object", str(manifest), "one that is nested less deeply") from error
    return text.encode()


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if _OTHER_BREAKS.search(text):
        style = '"'  # Elsewhere PyYAML writes them as they are, and a reader folds them to blanks.
    elif "\n" in text:
        style = "|"
    elif scalars.resolve(text) is not text:
        style = "'"  # PyYAML quotes only what it would itself read as another type.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent_text)


def _file_name(what: str, name: str) -> str:
    if not _FILE_NAME.fullmatch(name):
        raise Invalid(what, name, "a name without slashes that does not begin with a dot")
    return name


def _write_all(directory: Path, contents: dict[Path, bytes]) -> int:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        changed = [path for path, content in contents.items() if _differs(path, content)]
        for path in changed:
            _replace(path, contents[path])
        if changed:
            _flush(directory)
    except OSError as error:
        raise Unavailable(f"{error.filename or directory}: {error.strerror}") from error
    return len(changed)


def _differs(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() != content
    except FileNotFoundError:
        return True


def _replace(path: Path, content: bytes) -> None:
    """A reader sees the old content or the new, whenever the process or the machine stops."""
    # In the same directory, because a rename is atomic only within a file system. Readable by the
    # owner alone, because a manifest may be a Secret.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _flush(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
