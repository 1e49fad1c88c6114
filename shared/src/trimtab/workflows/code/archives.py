"""The format of a bundle: files in one archive that has the same bytes wherever it is made. Pure.

It is a ZIP file, so that common tools list it, with names in order, one time and one permission for
all files. The files are not compressed: compressors of equal settings give different bytes, by
library and by version, and the hash of the bytes is the identity of the bundle. `read_archive`
refuses any archive that `pack` would write otherwise, so that there is one reading of its bytes.
"""

import struct
import unicodedata
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from trimtab.errors import Invalid

MAX_FILES = 10_000
MAX_PATH_BYTES = 400
MAX_NAME_BYTES = 255
"""The limit of file systems for one part of a path."""
MAX_BUNDLE_BYTES = 16 * 1024 * 1024
"""Code is small; what is larger is data or an environment, which belong elsewhere."""

_LOCAL = struct.Struct("<4sHHHHHLLLHH")
_CENTRAL = struct.Struct("<4sHHHHHHLLLHHHHHLL")
_END = struct.Struct("<4sHHHHLLH")
_NEEDED = 20
_MADE_BY = 3 << 8 | _NEEDED
"""Unix, whose permissions are in the upper half of the external attributes."""
_UTF8 = 0x800
_DATE = 0x21
"""1 January 1980, the first day of the format."""
_PERMISSIONS = 0o100644 << 16


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return the archive of files by relative POSIX path. Raises `Invalid`."""
    _check_names(files)
    _check_size(sum(map(len, files.values())))
    parts: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    for path, content in sorted((path.encode(), content) for path, content in files.items()):
        sizes = (zlib.crc32(content), len(content), len(content), len(path), 0)
        fields = (_NEEDED, _UTF8, 0, 0, _DATE, *sizes)
        parts += (_LOCAL.pack(b"PK\3\4", *fields), path, content)
        entry = _CENTRAL.pack(b"PK\1\2", _MADE_BY, *fields, 0, 0, 0, _PERMISSIONS, offset)
        directory += (entry, path)
        offset += _LOCAL.size + len(path) + len(content)
    size = sum(map(len, directory))
    end = _END.pack(b"PK\5\6", 0, 0, len(files), len(files), size, offset, 0)
    archive = b"".join((*parts, *directory, end))
    _check_size(len(archive))
    return archive


def read_archive(content: bytes) -> dict[str, bytes]:
    """Return the files of an archive of any origin. Raises `Invalid`.

    The sizes are those of the bytes that are there, as nothing is compressed.
    """
    _check_size(len(content))
    files: dict[str, bytes] = {}
    at = 0
    while content.startswith(b"PK\3\4", at):
        entry = _entry(content, at)
        if entry.path in files:
            raise Invalid("bundle", entry.path, "one file of each path")
        files[entry.path] = entry.content
        if len(files) > MAX_FILES:
            break
        at = entry.end
    if pack(files) != content:
        raise Invalid(
            "bundle", f"{len(content)} bytes", "an archive as `trimtab register` makes it"
        )
    return files


class _Entry(NamedTuple):
    path: str
    content: bytes
    end: int


def _entry(archive: bytes, at: int) -> _Entry:
    try:
        fields = _LOCAL.unpack_from(archive, at)
        size, name_size = fields[7], fields[9]
        start = at + _LOCAL.size + name_size
        path = archive[at + _LOCAL.size : start].decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise Invalid("bundle", f"an archive that ends at byte {at}", "a whole archive") from error
    return _Entry(path, archive[start : start + size], start + size)


def _check_size(size: int) -> None:
    if size > MAX_BUNDLE_BYTES:
        raise Invalid("bundle", f"{size} bytes", f"at most {MAX_BUNDLE_BYTES} bytes")


def _check_names(files: Mapping[str, bytes]) -> None:
    """Check that the files can be written side by side below one directory, on any file system."""
    if len(files) > MAX_FILES:
        raise Invalid("bundle", f"{len(files)} files", f"at most {MAX_FILES} files")
    spelling: dict[str, str] = {}
    directories: set[str] = set()
    for path in files:
        _check_path(path)
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            above = "/".join(parts[:count])
            other = spelling.setdefault(unicodedata.normalize("NFC", above).casefold(), above)
            if other != above:
                raise Invalid("bundle", path, f"a path that differs from {other} by more than case")
            if count < len(parts):
                directories.add(above)
    if both := sorted(directories & files.keys()):
        raise Invalid("bundle", both[0], "either a file or a directory of this path")


def _check_path(path: str) -> None:
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        encoded = b""
    parts = encoded.split(b"/")
    if (
        any(part in (b"", b".", b"..") or len(part) > MAX_NAME_BYTES for part in parts)
        or "\\" in path
        or any(unicodedata.category(character) == "Cc" for character in path)
    ):
        raise Invalid(
            "bundle", path, "relative paths in UTF-8 without ., .., \\ and control characters"
        )
    if len(encoded) > MAX_PATH_BYTES:
        raise Invalid("bundle", path, f"paths of at most {MAX_PATH_BYTES} bytes")
