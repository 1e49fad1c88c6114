"""Blobs in a directory: permissions, a full or unusable file system, and several processes."""

import asyncio
import errno
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import PATIENCE_SECONDS
from trimtab.blobs.directory import DirectoryBlobStore
from trimtab.errors import NotFound, Unavailable

CONTENT = b"def double(n):\n    return 2 * n\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
UPLOADER = """
import asyncio, sys
from pathlib import Path
from trimtab.blobs.directory import DirectoryBlobStore
asyncio.run(DirectoryBlobStore(Path(sys.argv[1])).put(b"a" * 1_000_000))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def store(root: Path) -> Iterator[DirectoryBlobStore]:
    store = DirectoryBlobStore(root)
    yield store
    store.close()


async def test_only_the_owner_reads_the_directory_and_its_files(
    root: Path, store: DirectoryBlobStore
) -> None:
    await store.put(CONTENT)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (root, *root.iterdir())}
    assert modes == {0o700, 0o600}


async def test_a_full_disk_stores_nothing_and_keeps_what_is_there(
    root: Path, store: DirectoryBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put(b"first")

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space left on device"):
        await store.put(CONTENT)
    assert {path.name for path in root.iterdir()} == {
        ".lock",
        hashlib.sha256(b"first").hexdigest(),
    }
    # It is stored already, and so needs no room.
    await store.put(b"first")


async def test_a_path_that_is_no_directory_is_unavailable(
    root: Path, store: DirectoryBlobStore
) -> None:
    root.touch()
    for call in (store.put(CONTENT), store.get(DIGEST), store.list()):
        with pytest.raises(Unavailable, match="blobs failed: "):
            await call


async def test_a_directory_that_was_deleted_is_empty_and_is_created_again(
    root: Path, store: DirectoryBlobStore
) -> None:
    await store.put(CONTENT)
    for path in root.iterdir():
        path.unlink()
    root.rmdir()
    assert await store.list() == []
    assert not await store.has(DIGEST)
    with pytest.raises(NotFound):
        await store.get(DIGEST)
    await store.put(CONTENT)
    assert await store.get(DIGEST) == CONTENT


async def test_processes_that_put_one_content_store_it_once(
    root: Path, store: DirectoryBlobStore
) -> None:
    command = [sys.executable, "-c", UPLOADER, str(root)]
    running = [subprocess.Popen(command) for _ in range(2)]
    done = [await asyncio.to_thread(each.wait, PATIENCE_SECONDS) for each in running]
    assert done == [0, 0]
    [blob] = await store.list()
    assert await store.get(blob.digest) == b"a" * 1_000_000
    assert len([*root.iterdir()]) == 2  # and the lock
