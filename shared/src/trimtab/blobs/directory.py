"""Blobs as files of a directory, which several processes may share."""

import asyncio
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from trimtab.blobs.port import (
    Damaged,
    StoredBlob,
    check_digest,
    check_size,
    digest_of,
    missing,
)
from trimtab.errors import Invalid, Unavailable
from trimtab.runtime.threads import Threads

T = TypeVar("T")

_THREADS = 4
_TIMEOUT_SECONDS = 60.0
"""A file system that hangs holds up no caller for longer."""
_LOCK = ".lock"
_PART = ".part-"


class DirectoryBlobStore:
    """A directory, which the first put creates. Each blob is a file that has its digest as name.

    A content is written to a temporary file, synced and renamed, so that no reader finds a part of
    it. All work is done in threads.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._threads = Threads(_THREADS, "blobs")

    def close(self) -> None:
        """End the threads, for those who make many stores."""
        self._threads.close()

    async def put(self, content: bytes) -> str:
        check_size(content)
        return await self._run(lambda: self._put(content))

    async def get(self, digest: str) -> bytes:
        return await self._run(lambda: self._get(self._path(digest)))

    async def has(self, digest: str) -> bool:
        return await self._run(self._path(digest).is_file)

    async def refresh(self, digest: str) -> bool:
        path = self._path(digest)
        return await self._run(lambda: path.is_file() and self._refresh(path))

    async def list(self) -> Sequence[StoredBlob]:
        return await self._run(lambda: [*self._list()])

    async def delete(self, blob: StoredBlob) -> bool:
        path = self._path(blob.digest)
        return await self._run(lambda: path.is_file() and self._delete(path, blob.revision))

    async def delete_unfinished(self, before: datetime) -> int:
        return await self._run(lambda: self._delete_unfinished(before.timestamp()))

    def _path(self, digest: str) -> Path:
        check_digest(digest)
        return self._root / digest

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                return await self._threads.submit(work)
        except TimeoutError as error:
            raise Unavailable(f"the blob store {self._root} does not respond") from error
        except OSError as error:
            raise Unavailable(f"the blob store {self._root} failed: {error.strerror}") from error

    def _put(self, content: bytes) -> str:
        digest = digest_of(content)
        path = self._root / digest
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _holds(path, content) and self._refresh(path):
            return digest
        # Created with the permissions 0600.
        handle, part = tempfile.mkstemp(prefix=_PART, dir=self._root)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(handle)
            with self._locked():
                os.replace(part, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(part)
            raise
        self._sync()
        return digest

    def _sync(self) -> None:
        """Make the new name durable."""
        handle = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    @staticmethod
    def _get(path: Path) -> bytes:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise missing(path.name) from None
        if digest_of(content) != path.name:
            raise Damaged(path.name)
        return content

    def _refresh(self, path: Path) -> bool:
        with self._locked(), suppress(FileNotFoundError):
            os.utime(path)
            return True
        return False

    def _list(self) -> Iterator[StoredBlob]:
        with suppress(FileNotFoundError):
            for entry in os.scandir(self._root):
                with suppress(Invalid, FileNotFoundError):
                    check_digest(entry.name)
                    stat = entry.stat()
                    at = datetime.fromtimestamp(stat.st_mtime, UTC)
                    yield StoredBlob(entry.name, stat.st_size, at, stat.st_mtime_ns)

    def _delete(self, path: Path, revision: int) -> bool:
        # The lock keeps a refresh from happening between the comparison and the deletion.
        with self._locked(), suppress(FileNotFoundError):
            if path.stat().st_mtime_ns == revision:
                path.unlink()
                return True
        return False

    def _delete_unfinished(self, before: float) -> int:
        deleted = 0
        for part in self._root.glob(f"{_PART}*"):
            with suppress(FileNotFoundError):
                if part.stat().st_mtime < before:
                    part.unlink()
                    deleted += 1
        return deleted

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the directory, which the processes that share it take too."""
        handle = os.open(self._root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return False
