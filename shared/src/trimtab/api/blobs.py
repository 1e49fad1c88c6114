"""Blobs, such as bundles of code, without their contents. Pure."""

from trimtab.models import Model


class BlobBody(Model):
    """A blob that is stored."""

    digest: str
    """The SHA-256 of its content, in hexadecimal digits."""
    size: int
    """In bytes."""
