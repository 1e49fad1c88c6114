"""Bundles of code that versions name."""

from trimtab.blobs.port import BlobStore
from trimtab.errors import NotFound


async def require(store: BlobStore, digest: str) -> None:
    """Refresh the bundle of a version that is being registered.

    Raises `NotFound` where it is not stored, and `trimtab.errors.Unavailable`.
    """
    if not await store.refresh(digest):
        hint = (
            "`trimtab register` uploads it before it registers the version: run it again; other "
            "clients send it with PUT /api/v2/blobs/{project}/{domain}/{digest}"
        )
        raise NotFound("bundle", digest, hint=hint)
