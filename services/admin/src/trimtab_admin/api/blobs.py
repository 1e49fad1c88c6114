"""Operations on blobs: bundles of code, by their SHA-256."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from pydantic import Field

from trimtab.api.blobs import BlobBody
from trimtab.blobs.port import BlobStore, Damaged, digest_of, missing
from trimtab.errors import Invalid, Unavailable
from trimtab_admin.access.authorization import blob_editor, blob_viewer
from trimtab_admin.access.call import Call
from trimtab_admin.api import problems
from trimtab_admin.api.operation import Content, Operation
from trimtab_admin.api.parameters import DryRunQuery
from trimtab_admin.api.problems import ProblemError

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

_AT_ONCE = 4
"""How many blobs of the largest size admin holds in memory at once."""
_READS_AT_ONCE = 2
_UPLOAD_SECONDS = 300.0
"""How long an upload may hold its part of the memory: a slow line needs this for 16 MiB."""


class Uploads:
    """Receives contents, which together stay below a size.

    An upload takes as much of it as has arrived, so that slow ones hold up no others.
    """

    def __init__(self, max_bytes: int) -> None:
        self._free = max_bytes

    @asynccontextmanager
    async def receive(self, content: Content) -> AsyncIterator[bytes]:
        """Yield a content; its memory counts until the block ends.

        Raises `Unavailable` as soon as there is no room, `ProblemError` where it takes too long,
        and what the content raises.
        """
        parts: list[bytes] = []
        taken = 0
        try:
            try:
                async with asyncio.timeout(_UPLOAD_SECONDS):
                    async for part in content.parts:
                        self._take(len(part))
                        taken += len(part)
                        parts.append(part)
            except TimeoutError as error:
                allowed = f"a complete body within {_UPLOAD_SECONDS:.0f} s"
                problem = problems.of_field(408, "body", f"{taken} bytes", allowed)
                raise ProblemError(problem) from error
            body = b"".join(parts)
            parts.clear()
            yield body
        finally:
            self._free += taken

    def _take(self, size: int) -> None:
        if size > self._free:
            raise Unavailable("too many bundles are uploaded at once; repeat the call")
        self._free -= size


@dataclass(frozen=True)
class BlobOperations:
    """The operations, with the store and what is uploaded to it now."""

    store: Callable[[], BlobStore]
    uploads: Uploads
    reads: asyncio.Semaphore

    @classmethod
    def of(cls, store: Callable[[], BlobStore], max_bytes: int) -> "BlobOperations":
        """``max_bytes`` is the size of the largest blob."""
        return cls(store, Uploads(_AT_ONCE * max_bytes), asyncio.Semaphore(_READS_AT_ONCE))

    def table(self) -> Sequence[Operation]:
        blobs = partial(Operation, path="/blobs/{project}/{domain}/{digest}", tag="blobs")
        return (
            blobs("GET", handler=self.get_blob, requires=blob_viewer),
            blobs("PUT", handler=self.put_blob, requires=blob_editor),
        )

    async def get_blob(self, call: Call, project: str, domain: str, digest: Digest) -> BlobBody:
        """Whether a blob is stored undamaged: its content is checked, and not returned. All
        projects share one store.
        """
        async with self.reads:
            try:
                content = await self.store().get(digest)
            except Damaged as error:
                raise missing(digest) from error  # an upload replaces it
        return BlobBody(digest=digest, size=len(content))

    async def put_blob(
        self,
        call: Call,
        project: str,
        domain: str,
        digest: Digest,
        query: DryRunQuery,
        content: Content,
    ) -> BlobBody:
        """Store a content under its SHA-256, before the workflow that names it is registered. One
        that is stored already is stored again where it is damaged. A blob that no registered
        workflow and no execution names is deleted after some days.
        """
        store = self.store()
        async with self.uploads.receive(content) as body:
            found = await asyncio.to_thread(digest_of, body)
            if found != digest:
                raise Invalid("digest", digest, f"{found}, the SHA-256 of the body")
            if not query.dry_run:
                await store.put(body)
            return BlobBody(digest=digest, size=len(body))
