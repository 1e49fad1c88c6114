"""Resolutions that are stored as blobs, because they are too long for an event."""

import asyncio

from trimtab.blobs.port import BlobStore, Damaged
from trimtab.errors import NotFound, Rejected
from trimtab.messages.resolutions import Resolution, ResolutionBlob, unpack


class UnreadableResolution(Rejected):
    """The blob of a resolution is missing, damaged, or not readable by this release."""


async def load(store: BlobStore, blob: ResolutionBlob) -> Resolution:
    """Return the resolution in a blob. Raises `UnreadableResolution` and `Unavailable`."""
    try:
        return await asyncio.to_thread(unpack, await store.get(blob.digest))
    except NotFound as error:
        raise _unreadable(blob, "it is not stored") from error
    except Damaged as error:
        raise _unreadable(blob, "its stored content has another SHA-256") from error
    except ValueError as error:
        raise _unreadable(blob, str(error)) from error


def _unreadable(blob: ResolutionBlob, problem: str) -> UnreadableResolution:
    return UnreadableResolution(f"the resolution, in blob {blob.digest}, cannot be read: {problem}")
