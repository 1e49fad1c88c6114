"""Blobs as objects of an object store of JetStream, which other clients of NATS can read too.

The layout is that of NATS's ADR-20: a content is a series of chunks on a subject of its own, and
the metadata, written last, names that subject. nats-py's own object store is not used to write,
because two of its writers of one object leave the chunks of one behind, and none can delete an
object only if no other has written it again.
"""

import asyncio
import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import Header
from pydantic import BaseModel, Field, ValidationError

from trimtab.blobs.port import (
    MAX_BYTES,
    Damaged,
    StoredBlob,
    check_digest,
    check_size,
    digest_of,
    missing,
)
from trimtab.errors import Retryable, Unavailable
from trimtab.messages import subjects
from trimtab.runtime import bus
from trimtab.runtime.bus import WrongSequence
from trimtab.runtime.retrying import raise_if_cancelled

CHUNK_BYTES = 256 * 1024
"""The size of a chunk. NATS carries 1 MiB, and a large message delays the others."""

_TRIES = 5
"""How often an upload begins again because another writer of the same blob was faster."""
_NO_MESSAGE = 10037
_NO_STREAM = 10059
_FULL = frozenset({10023, 10047, 10077})
"""The server's codes for a stream, an account or a disk without room."""


class _ObjectInfo(BaseModel):
    """The part of the metadata that is read."""

    nuid: str = Field(pattern="^[A-Za-z0-9]+$")
    size: int = Field(ge=0, le=MAX_BYTES)
    deleted: bool = False


class _Stored(NamedTuple):
    """The metadata as the stream holds it."""

    sequence: int
    body: bytes
    info: _ObjectInfo | None
    """``None`` where it cannot be read."""

    @property
    def is_deleted(self) -> bool:
        """Whether another client of NATS has marked the object as deleted."""
        return self.info is not None and self.info.deleted


class JetStreamBlobStore:
    """The bucket `subjects.BLOBS`, which admin declares."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def put(self, content: bytes) -> str:
        check_size(content)
        digest = await asyncio.to_thread(digest_of, content)
        for _ in range(_TRIES):
            raise_if_cancelled()
            stored = await self._last(digest)
            with suppress(WrongSequence):
                if stored is not None and await self._is_intact(digest, stored):
                    await self._publish_info(digest, stored.body, stored.sequence)
                else:
                    await self._upload(digest, content, stored)
                return digest
        raise Unavailable(f"others are writing blob {digest}")

    async def get(self, digest: str) -> bytes:
        stored = await self._find(digest)
        while stored is not None:
            raise_if_cancelled()
            content = await self._content(stored)
            if content is not None and await asyncio.to_thread(digest_of, content) == digest:
                return content
            read, stored = stored, await self._find(digest)
            # Otherwise a writer has replaced it meanwhile.
            if stored is not None and stored.info == read.info:
                raise Damaged(digest)
        raise missing(digest)

    async def has(self, digest: str) -> bool:
        return await self._find(digest) is not None

    async def refresh(self, digest: str) -> bool:
        for _ in range(_TRIES):
            raise_if_cancelled()
            stored = await self._find(digest)
            if stored is None:
                return False
            with suppress(WrongSequence):
                await self._publish_info(digest, stored.body, stored.sequence)
                return True
        raise Unavailable(f"others are writing blob {digest}")

    async def list(self) -> Sequence[StoredBlob]:
        listed = [blob for blob, _ in await self._list()]
        return [blob for blob in listed if blob is not None]

    async def delete(self, blob: StoredBlob) -> bool:
        stored = await self._find(blob.digest)
        if stored is None or stored.sequence != blob.revision:
            return False
        # A refresh stores the metadata under another sequence, so this deletes no refreshed blob.
        # It needs no room, which a message that marks the deletion would.
        with _translated():
            try:
                await self._jetstream.delete_msg(subjects.BLOBS_STREAM, blob.revision)
            except nats.js.errors.APIError as error:
                if error.err_code in (_NO_MESSAGE, 10043):
                    return False
                raise
        if stored.info is not None:
            await self._purge(stored.info.nuid)
        return True

    async def delete_unfinished(self, before: datetime) -> int:
        with _translated():
            stream = await self._jetstream.stream_info(
                subjects.BLOBS_STREAM, subjects_filter=subjects.blob_chunks("*")
            )
        chunks = {subject.rpartition(".")[2] for subject in stream.state.subjects or {}}
        deleted = 0
        for nuid in chunks - {nuid for _, nuid in await self._list()}:
            with _translated():
                last = await self._jetstream.get_last_msg(
                    subjects.BLOBS_STREAM, subjects.blob_chunks(nuid)
                )
            if last.time is not None and last.time < before:
                await self._purge(nuid)
                deleted += 1
        return deleted

    @property
    def _jetstream(self) -> JetStreamContext:
        return self._client.jetstream(timeout=bus.TIMEOUT_SECONDS)

    async def _find(self, digest: str) -> _Stored | None:
        stored = await self._last(digest)
        return None if stored is None or stored.is_deleted else stored

    async def _last(self, digest: str) -> _Stored | None:
        """Return the last metadata, which may mark the blob as deleted."""
        check_digest(digest)
        with _translated():
            try:
                # The leader of the stream responds, so that what was put is found at once.
                message = await self._jetstream.get_last_msg(
                    subjects.BLOBS_STREAM, subjects.blob_info(_key(digest))
                )
            except nats.js.errors.NotFoundError as error:
                if error.err_code == _NO_MESSAGE:
                    return None
                raise
        body = message.data or b""
        return _Stored(message.seq or 0, body, _parse(body))

    async def _is_intact(self, digest: str, stored: _Stored) -> bool:
        content = await self._content(stored)
        return content is not None and await asyncio.to_thread(digest_of, content) == digest

    async def _content(self, stored: _Stored) -> bytes | None:
        """Return the chunks as far as there are any; ``None`` where no metadata names them."""
        if stored.info is None or stored.is_deleted:
            return None
        subject, sequence, size = subjects.blob_chunks(stored.info.nuid), 1, 0
        chunks: list[bytes] = []
        while size < stored.info.size:
            raise_if_cancelled()
            with _translated():
                try:
                    message = await self._jetstream.get_msg(
                        subjects.BLOBS_STREAM, seq=sequence, subject=subject, next=True
                    )
                except nats.js.errors.NotFoundError as error:
                    if error.err_code == _NO_MESSAGE:
                        break
                    raise
            chunks.append(message.data or b"")
            size += len(chunks[-1])
            sequence = (message.seq or 0) + 1
        return b"".join(chunks)

    async def _upload(self, digest: str, content: bytes, stored: _Stored | None) -> None:
        """Raise `WrongSequence` where another writer was faster; nothing stays of this one then."""
        nuid = uuid4().hex
        try:
            for first in range(0, len(content), CHUNK_BYTES):
                raise_if_cancelled()
                chunk = content[first : first + CHUNK_BYTES]
                await self._publish(subjects.blob_chunks(nuid), chunk, {})
        except Unavailable:
            with suppress(Unavailable):
                await self._purge(nuid)
            raise
        try:
            body = _info(digest, nuid, content)
            await self._publish_info(digest, body, stored.sequence if stored else 0)
        except WrongSequence:
            with suppress(Unavailable):
                await self._purge(nuid)
            raise
        # Where the server did not confirm the metadata, it may be stored, so its chunks stay.
        if stored is not None and stored.info is not None:
            await self._purge(stored.info.nuid)

    async def _publish_info(self, digest: str, body: bytes, last_sequence: int) -> None:
        headers = {
            Header.ROLLUP.value: "sub",
            Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(last_sequence),
        }
        await self._publish(subjects.blob_info(_key(digest)), body, headers)

    async def _publish(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        with _translated():
            await self._jetstream.publish(
                subject, body, stream=subjects.BLOBS_STREAM, headers=headers
            )
        raise_if_cancelled()

    async def _purge(self, nuid: str) -> None:
        with _translated():
            await self._jetstream.purge_stream(
                subjects.BLOBS_STREAM, subject=subjects.blob_chunks(nuid)
            )

    async def _list(self) -> Sequence[tuple[StoredBlob | None, str]]:
        """Return each blob with the name of its chunks; ``None`` for objects of other clients."""
        found: list[tuple[StoredBlob | None, str]] = []
        following = bus.follow(self._client, subjects.BLOBS_STREAM, subjects.blob_info("*"))
        try:
            async with aclosing(following) as messages:
                async for message in messages:
                    if message is None:
                        break
                    found.append(_listed(message))
        except Retryable as error:
            raise Unavailable(f"the blob store failed: {error}") from error
        return found


def _listed(message: bus.StoredMessage) -> tuple[StoredBlob | None, str]:
    info = _parse(message.body)
    nuid = info.nuid if info else ""
    digest = _digest_in(message.subject.rpartition(".")[2])
    if digest is None or (info is not None and info.deleted):
        return None, nuid
    at = datetime.fromtimestamp(message.stored_at, UTC)
    return StoredBlob(digest, info.size if info else 0, at, message.sequence), nuid


def _key(digest: str) -> str:
    """Return the name of an object as it stands in its subject."""
    return base64.urlsafe_b64encode(digest.encode()).decode()


def _digest_in(key: str) -> str | None:
    with suppress(ValueError):
        digest = base64.urlsafe_b64decode(key).decode()
        check_digest(digest)
        return digest
    return None


def _info(digest: str, nuid: str, content: bytes) -> bytes:
    """Return the metadata in the form of ADR-20."""
    hashed = base64.urlsafe_b64encode(bytes.fromhex(digest)).decode()
    info = {
        "name": digest,
        "options": {"max_chunk_size": CHUNK_BYTES},
        "bucket": subjects.BLOBS,
        "nuid": nuid,
        "size": len(content),
        "chunks": -(-len(content) // CHUNK_BYTES),
        "digest": f"SHA-256={hashed}",
    }
    return json.dumps(info).encode()


def _parse(body: bytes) -> _ObjectInfo | None:
    try:
        return _ObjectInfo.model_validate_json(body)
    except ValidationError:
        return None


@contextmanager
def _translated() -> Iterator[None]:
    """Raise the errors of nats-py as ours."""
    try:
        yield
    except nats.js.errors.APIError as error:
        if error.err_code in bus.WRONG_LAST:
            raise WrongSequence("the blob has been written meanwhile") from error
        if error.err_code in _FULL:
            raise Unavailable(
                f"the blob store is full: {error.description}; raise max_bytes of the stream "
                f"{subjects.BLOBS_STREAM}, or the storage of NATS"
            ) from error
        if error.err_code == _NO_STREAM:
            raise _not_declared() from error
        raise Unavailable(f"the blob store failed: {error}") from error
    except nats.js.errors.NoStreamResponseError as error:
        raise _not_declared() from error
    except (nats.errors.Error, TimeoutError) as error:
        raise Unavailable(f"NATS did not answer for a blob: {error}") from error


def _not_declared() -> Unavailable:
    return Unavailable(
        f"the stream {subjects.BLOBS_STREAM} does not exist; admin declares it when it connects"
    )
