"""The contract of a blob store: the same tests for the directory and for JetStream."""

import asyncio
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest
from nats.aio.client import Client

from tests.servers import PATIENCE_SECONDS
from trimtab.blobs.directory import DirectoryBlobStore
from trimtab.blobs.jetstream import CHUNK_BYTES, JetStreamBlobStore
from trimtab.blobs.port import MAX_BYTES, BlobStore, Damaged
from trimtab.errors import Invalid, NotFound
from trimtab.messages import subjects

CONTENT = b"def double(n):\n    return 2 * n\n"
LARGE = bytes(range(256)) * (3 * CHUNK_BYTES // 256) + b"end"
ABSENT = hashlib.sha256(b"never put").hexdigest()


class Disk(Protocol):
    """The storage below a store."""

    async def damage(self, content: bytes) -> None:
        """Replace a part of the content of the only blob."""

    async def leave_unfinished_upload(self) -> None: ...

    async def size(self) -> int:
        """Return how many pieces of contents are stored."""


class Files:
    def __init__(self, root: Path) -> None:
        self._root = root

    async def damage(self, content: bytes) -> None:
        path = self._root / hashlib.sha256(content).hexdigest()
        path.write_bytes(content[:-1] + b"!")

    async def leave_unfinished_upload(self) -> None:
        (self._root / ".part-killed").write_bytes(CONTENT)

    async def size(self) -> int:
        return sum(not path.name.startswith(".lock") for path in self._root.iterdir())


class Bucket:
    def __init__(self, client: Client) -> None:
        self._jetstream = client.jetstream()

    async def damage(self, content: bytes) -> None:
        stream = subjects.BLOBS_STREAM
        message = await self._jetstream.get_last_msg(stream, subjects.blob_chunks("*"))
        assert message.seq is not None
        assert message.subject is not None
        await self._jetstream.delete_msg(stream, message.seq)
        await self._jetstream.publish(message.subject, (message.data or b"")[:-1] + b"!")

    async def leave_unfinished_upload(self) -> None:
        await self._jetstream.publish(subjects.blob_chunks("killed"), CONTENT)

    async def size(self) -> int:
        info = await self._jetstream.stream_info(
            subjects.BLOBS_STREAM, subjects_filter=subjects.blob_chunks("*")
        )
        return len(info.state.subjects or {})


Stored = tuple[BlobStore, Disk]


@pytest.fixture(params=["directory", "jetstream"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stored]:
    if request.param == "directory":
        root = tmp_path / "made" / "blobs"
        store = DirectoryBlobStore(root)
        yield store, Files(root)
        store.close()
        return
    client = request.getfixturevalue("client")
    yield JetStreamBlobStore(client), Bucket(client)


@pytest.fixture
def store(stored: Stored) -> BlobStore:
    return stored[0]


@pytest.fixture
def disk(stored: Stored) -> Disk:
    return stored[1]


async def test_what_was_put_is_returned_by_its_digest(store: BlobStore, disk: Disk) -> None:
    for content in (CONTENT, LARGE, b""):
        digest = await store.put(content)
        assert digest == hashlib.sha256(content).hexdigest() == await store.put(content)
        assert await store.get(digest) == content
        assert await store.has(digest)
    assert {blob.size for blob in await store.list()} == {len(CONTENT), len(LARGE), 0}


async def test_a_blob_that_was_never_put_is_not_found(store: BlobStore) -> None:
    assert not await store.has(ABSENT)
    assert not await store.refresh(ABSENT)
    assert await store.list() == []
    with pytest.raises(NotFound, match="register what names it again"):
        await store.get(ABSENT)


async def test_what_is_no_digest_is_rejected(store: BlobStore) -> None:
    for digest in ("../passwd", ABSENT.upper(), ABSENT[1:], "", f"{ABSENT}\n"):
        for call in (store.get, store.has, store.refresh):
            with pytest.raises(Invalid, match="64 hexadecimal digits"):
                await call(digest)


async def test_a_content_above_the_limit_is_rejected_before_anything_is_stored(
    store: BlobStore, disk: Disk
) -> None:
    await store.put(CONTENT)
    with pytest.raises(Invalid, match="at most 67108864 bytes"):
        await store.put(bytes(MAX_BYTES + 1))
    assert await disk.size() == 1


async def test_a_damaged_blob_is_never_returned_and_a_put_repairs_it(
    store: BlobStore, disk: Disk
) -> None:
    digest = await store.put(LARGE)
    await disk.damage(LARGE)
    with pytest.raises(Damaged, match=digest):
        await store.get(digest)
    assert await store.put(LARGE) == digest
    assert await store.get(digest) == LARGE
    assert await disk.size() == 1


async def test_concurrent_puts_of_one_content_store_it_once_and_readers_see_all_or_nothing(
    store: BlobStore, disk: Disk
) -> None:
    digest = hashlib.sha256(LARGE).hexdigest()
    found: list[bytes] = []

    async def read() -> None:
        while not found:
            try:
                found.append(await store.get(digest))
            except NotFound:
                await asyncio.sleep(0)

    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(read())
        for _ in range(4):
            group.create_task(store.put(LARGE))
    assert found == [LARGE]
    assert await disk.size() == len(await store.list()) == 1


async def test_a_listed_blob_has_an_age_which_a_put_and_a_refresh_renew(store: BlobStore) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    digest = await store.put(CONTENT)
    [first] = await store.list()
    assert (first.digest, first.size) == (digest, len(CONTENT))
    assert before < first.stored_at < datetime.now(UTC) + timedelta(seconds=1)
    assert await store.refresh(digest)
    [second] = await store.list()
    await store.put(CONTENT)
    [third] = await store.list()
    assert first.stored_at < second.stored_at < third.stored_at
    assert len({first.revision, second.revision, third.revision}) == 3


async def test_a_blob_is_deleted_unless_it_was_refreshed_since_it_was_listed(
    store: BlobStore, disk: Disk
) -> None:
    digest = await store.put(LARGE)
    [listed] = await store.list()
    await store.refresh(digest)
    assert not await store.delete(listed)
    assert await store.get(digest) == LARGE
    [listed] = await store.list()
    assert await store.delete(listed)
    assert not await store.delete(listed)
    assert not await store.has(digest)
    assert await disk.size() == 0
    assert await store.put(LARGE) == digest
    assert await store.get(digest) == LARGE


async def test_an_upload_that_was_killed_is_never_listed_and_is_deleted_when_it_is_old(
    store: BlobStore, disk: Disk
) -> None:
    digest = await store.put(CONTENT)
    await disk.leave_unfinished_upload()
    [only] = await store.list()
    assert only.digest == digest
    assert await store.delete_unfinished(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert await disk.size() == 2
    assert await store.delete_unfinished(datetime.now(UTC) + timedelta(hours=1)) == 1
    assert await disk.size() == 1
    assert await store.get(digest) == CONTENT
