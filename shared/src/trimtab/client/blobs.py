"""Blobs: bundles of code, which are uploaded before the workflows that name them are registered."""

import hashlib

from trimtab.api.blobs import BlobBody
from trimtab.client.http import Collection, path_of
from trimtab.errors import NotFound


class Blobs(Collection):
    """Contents by their SHA-256. No call returns a content."""

    async def has(self, project: str, domain: str, digest: str) -> bool:
        """Return whether a blob is stored undamaged. Raises `NotFound` for an unknown project."""
        path = path_of("blobs", project, domain, digest)
        try:
            await self._http.fetch(BlobBody, "GET", path)
        except NotFound as error:
            if error.object_type != "blob":
                raise
            return False
        return True

    async def put(self, project: str, domain: str, content: bytes) -> str:
        """Store a content, again where it is stored already, and return its digest."""
        digest = hashlib.sha256(content).hexdigest()
        path = path_of("blobs", project, domain, digest)
        headers = {"Content-Type": "application/octet-stream"}
        await self._http.fetch(BlobBody, "PUT", path, content=content, headers=headers)
        return digest
