"""Bundles of code as files of the data directory, so that each is fetched once.

A file is named by its SHA-256, written by rename, and verified whenever it is read, so propellers
can share the directory, and all of it can be deleted at any time, also while attempts start.
"""

import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

from trimtab.blobs.port import check_digest, digest_of
from trimtab.errors import Rejected, Retryable
from trimtab_propeller.executors.blocking import in_thread
from trimtab_propeller.executors.port import AttemptRejected, ExecutorUnavailable

log = logging.getLogger(__name__)

_PART = ".part-"
_UNFINISHED_SECONDS = 3600.0
"""The age after which a part belongs to a write that was killed."""


class BundleCache:
    """The bundles that attempts were started with last, up to a size."""

    def __init__(
        self, directory: Path, fetch: Callable[[str], Awaitable[bytes]], max_bytes: int
    ) -> None:
        """``fetch`` returns the content of a digest, as `BlobStore.get` does."""
        self._directory = directory
        self._fetch = fetch
        self._max_bytes = max_bytes
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def ensure(self, digest: str) -> None:
        """Fetch a bundle unless there is a file of it. Raises like `get`."""
        path = self._path(digest)
        if not await in_thread(path.is_file):
            await self.get(digest)

    async def get(self, digest: str) -> bytes:
        """Return a bundle.

        Raises `AttemptRejected` where the store has none, and `ExecutorUnavailable` where the store
        does not respond.
        """
        path = self._path(digest)
        content = await in_thread(lambda: _read(path))
        if content is None:
            async with self._locks.setdefault(digest, asyncio.Lock()):
                # Another attempt may have fetched it meanwhile.
                content = await in_thread(lambda: _read(path))
                if content is None:
                    content = await self._fetch_and_keep(path)
        return content

    def _path(self, digest: str) -> Path:
        try:
            check_digest(digest)
        except Rejected as error:
            raise AttemptRejected(str(error)) from error
        return self._directory / digest

    async def _fetch_and_keep(self, path: Path) -> bytes:
        started = time.monotonic()
        try:
            content = await self._fetch(path.name)
        except Retryable as error:
            raise ExecutorUnavailable(f"the code cannot be fetched: {error}") from error
        except Rejected as error:
            raise AttemptRejected(f"the code cannot be fetched: {error}") from error
        fetched = content
        if await in_thread(lambda: digest_of(fetched)) != path.name:
            raise ExecutorUnavailable(f"the code cannot be fetched: bundle {path.name} is damaged")
        seconds = round(time.monotonic() - started, 3)
        fields = {"bundle": path.name, "bytes": len(fetched), "seconds": seconds}
        log.info("bundle.fetched", extra=fields)
        await in_thread(lambda: self._keep(path, fetched))
        return content

    def _keep(self, path: Path, content: bytes) -> None:
        try:
            _write(path, content)
            self._delete_oldest(path.name)
        except OSError as error:  # The directory may have been deleted; the next start tries again.
            log.warning("bundle.not_kept", extra={"bundle": path.name, "error": str(error)})

    def _delete_oldest(self, kept: str) -> None:
        """Delete the bundles that were not used for longest, and what killed writes have left."""
        found: list[tuple[float, int, Path]] = []
        for entry in os.scandir(self._directory):
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                found.append((status.st_mtime, status.st_size, Path(entry.path)))
        size = sum(size for _, size, _ in found)
        for used_at, own_size, path in sorted(found):
            is_part = path.name.startswith(_PART)
            if is_part and used_at > time.time() - _UNFINISHED_SECONDS:
                continue
            if path.name != kept and (is_part or size > self._max_bytes):
                path.unlink(missing_ok=True)
                size -= own_size


def _read(path: Path) -> bytes | None:
    """Return the content of a bundle; ``None`` where there is none. A damaged one is deleted."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("bundle.unreadable", extra={"bundle": path.name, "error": str(error)})
        return None
    is_intact = digest_of(content) == path.name
    with suppress(FileNotFoundError):
        os.utime(path) if is_intact else path.unlink()
    if not is_intact:
        log.warning("bundle.damaged", extra={"bundle": path.name})
    return content if is_intact else None


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(prefix=_PART, dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.rename(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
