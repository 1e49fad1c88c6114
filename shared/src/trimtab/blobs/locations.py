"""Where blobs are stored: the configuration, and the store that it names."""

from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from nats.aio.client import Client
from pydantic import AfterValidator

from trimtab.blobs.directory import DirectoryBlobStore
from trimtab.blobs.jetstream import JetStreamBlobStore
from trimtab.blobs.port import BlobStore

NATS = "nats"


def directory_of(location: str) -> Path | None:
    """Return the directory that a location names; ``None`` for NATS. Raises `ValueError`."""
    if location == NATS:
        return None
    if location.startswith(("/", "./", "../")):
        return Path(location)
    parts = urlsplit(location)
    is_local = parts.scheme == "file" and parts.netloc in ("", "localhost")
    if is_local and parts.path.startswith("/") and not parts.query and not parts.fragment:
        return Path(unquote(parts.path))
    raise ValueError("nats, or a directory such as /var/lib/trimtab/blobs or file:///var/blobs")


def _check(location: str) -> str:
    directory_of(location)
    return location


Location = Annotated[str, AfterValidator(_check)]
"""``nats``, or a directory: a path that begins with ``/`` or ``./``, or a ``file:`` URL."""


def open_store(location: Location, client: Client) -> BlobStore:
    """Return the store of a location. ``client`` is the connection to NATS, which it may use."""
    directory = directory_of(location)
    return JetStreamBlobStore(client) if directory is None else DirectoryBlobStore(directory)
