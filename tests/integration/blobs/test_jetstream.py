"""Blobs in JetStream: an upload that ends in the middle, outages, and a full or missing bucket."""

import asyncio
import hashlib

import pytest
from nats.aio.client import Client
from nats.js.object_store import ObjectStore

from tests.servers import PATIENCE_SECONDS, NatsServer
from trimtab.blobs.jetstream import CHUNK_BYTES, JetStreamBlobStore
from trimtab.blobs.port import Damaged
from trimtab.errors import NotFound, Unavailable
from trimtab.messages import subjects
from trimtab_admin.messaging import streams

CONTENT = bytes(range(256)) * (8 * CHUNK_BYTES // 256)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
STREAM = subjects.BLOBS_STREAM


async def chunks(client: Client) -> int:
    return (await client.jetstream().stream_info(STREAM)).state.messages


async def test_an_upload_that_is_cancelled_in_the_middle_never_shows(client: Client) -> None:
    store = JetStreamBlobStore(client)
    upload = asyncio.create_task(store.put(CONTENT))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await chunks(client) < 2:
            await asyncio.sleep(0)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert 0 < await chunks(client) < 8
    assert not await store.has(DIGEST)
    with pytest.raises(NotFound):
        await store.get(DIGEST)
    await store.put(CONTENT)
    assert await store.get(DIGEST) == CONTENT


async def test_an_upload_during_an_outage_is_unavailable_and_succeeds_after_it(
    nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.runtime.bus.TIMEOUT_SECONDS", 0.5)
    store = JetStreamBlobStore(client)
    upload = asyncio.create_task(store.put(CONTENT))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await chunks(client) < 2:
            await asyncio.sleep(0)
        nats_server.kill()
        with pytest.raises(Unavailable):
            await upload
        for call in (store.get(DIGEST), store.has(DIGEST), store.list()):
            with pytest.raises(Unavailable):
                await call
        nats_server.start()
        while not client.is_connected:
            await asyncio.sleep(0)
    assert not await store.has(DIGEST)
    await store.put(CONTENT)
    assert await store.get(DIGEST) == CONTENT


async def test_a_missing_bucket_is_unavailable_and_a_wiped_one_has_no_blob(client: Client) -> None:
    store, jetstream = JetStreamBlobStore(client), client.jetstream()
    await store.put(b"content")
    await jetstream.delete_stream(STREAM)
    digest = hashlib.sha256(b"content").hexdigest()
    for call in (store.put(b"content"), store.get(digest), store.has(digest), store.list()):
        with pytest.raises(Unavailable):
            await call
    await streams.bootstrap(client)
    assert not await store.has(digest)
    assert await store.put(b"content") == digest
    assert await store.get(digest) == b"content"


async def test_a_full_bucket_refuses_an_upload_and_leaves_nothing_of_it(client: Client) -> None:
    store, jetstream = JetStreamBlobStore(client), client.jetstream()
    small = (await jetstream.stream_info(STREAM)).config.evolve(max_bytes=6 * CHUNK_BYTES)
    await jetstream.update_stream(small)
    first = await store.put(b"x" * 3 * CHUNK_BYTES)
    with pytest.raises(Unavailable, match=r"full.*raise max_bytes of the stream OBJ_BLOBS"):
        await store.put(CONTENT)
    [blob] = await store.list()
    assert blob.digest == first
    assert await chunks(client) == 4  # three chunks and the metadata
    # A deletion needs no room.
    for size in (CHUNK_BYTES, CHUNK_BYTES, CHUNK_BYTES - 3000):
        await jetstream.publish(subjects.blob_chunks("filler"), b"x" * size)
    with pytest.raises(Unavailable, match="full"):
        await store.put(b"x" * 3000)
    assert await store.delete(blob)
    await store.put(b"x" * 3 * CHUNK_BYTES)


async def test_clients_of_nats_read_blobs_as_objects(client: Client) -> None:
    store = JetStreamBlobStore(client)
    digest = await store.put(CONTENT)
    bucket: ObjectStore = await client.jetstream().object_store(subjects.BLOBS)
    found = await bucket.get(digest)
    assert found.data == CONTENT
    assert (found.info.name, found.info.size, found.info.chunks) == (digest, len(CONTENT), 8)
    await bucket.delete(digest)
    assert not await store.has(digest)
    assert await store.list() == []
    await store.put(CONTENT)
    assert await store.get(digest) == CONTENT


async def test_a_blob_with_unreadable_metadata_is_damaged_until_it_is_put_again(
    client: Client,
) -> None:
    store, jetstream = JetStreamBlobStore(client), client.jetstream()
    digest = await store.put(b"content")
    message = await jetstream.get_last_msg(STREAM, subjects.blob_info("*"))
    await jetstream.publish(str(message.subject), b'{"nuid": "*", "size": 7}')
    with pytest.raises(Damaged):
        await store.get(digest)
    assert [blob.digest for blob in await store.list()] == [digest]
    await store.put(b"content")
    assert await store.get(digest) == b"content"
