"""The port of a blob store, which a directory and JetStream implement. Pure.

A blob store only adds, except for `BlobStore.delete`, by which admin collects what nothing
names any more.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from trimtab.errors import Invalid, NotFound, Rejected

MAX_BYTES = 64 * 1024 * 1024
"""The largest blob. A blob is held in memory as a whole."""

_DIGEST = re.compile("[0-9a-f]{64}")


class Damaged(Rejected):
    """The stored content is not the one that was put."""

    def __init__(self, digest: str) -> None:
        super().__init__(
            f"blob {digest} is damaged: its stored content has another SHA-256; register what "
            "names it again, which stores it again"
        )
        self.digest = digest


class StoredBlob(NamedTuple):
    """A blob as `BlobStore.list` found it."""

    digest: str
    size: int
    stored_at: datetime
    """When it was put or refreshed last."""
    revision: int
    """A number that changes whenever the blob is refreshed."""


class BlobStore(Protocol):
    """Contents by their SHA-256, in hexadecimal digits.

    All methods raise `trimtab.errors.Unavailable` where the store does not respond or is full, and
    `trimtab.errors.Invalid` for what is no digest. A blob is read as a whole or not at all.
    """

    async def put(self, content: bytes) -> str:
        """Store a content and return its digest. A stored one is refreshed, a damaged one replaced.

        Raises `Invalid` for more than `MAX_BYTES`.
        """

    async def get(self, digest: str) -> bytes:
        """Return a content. Raises `NotFound`, and `Damaged` instead of returning another one."""

    async def has(self, digest: str) -> bool:
        """Return whether a blob is stored; its content is not read."""

    async def refresh(self, digest: str) -> bool:
        """Set the age of a blob to zero; return false where it is not stored."""

    async def list(self) -> Sequence[StoredBlob]:
        """Return all blobs."""

    async def delete(self, blob: StoredBlob) -> bool:
        """Delete a blob, unless it was refreshed or deleted since it was listed."""

    async def delete_unfinished(self, before: datetime) -> int:
        """Delete what uploads left that began before a time and did not end; return how many."""


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def check_digest(digest: str) -> None:
    """Raise `Invalid` for what is no digest, such as a path."""
    if not _DIGEST.fullmatch(digest):
        raise Invalid("digest", digest, "a SHA-256 in 64 hexadecimal digits, in lower case")


def check_size(content: bytes) -> None:
    """Raise `Invalid` for a content that is too large for a blob."""
    if len(content) > MAX_BYTES:
        raise Invalid("content", f"{len(content)} bytes", f"at most {MAX_BYTES} bytes")


def missing(digest: str) -> NotFound:
    """Return the error of a blob that is not stored."""
    hint = "register what names it again, which stores it again"
    return NotFound("blob", digest, hint=hint)
