"""Where blobs are stored: NATS, or a directory by its path or URL."""

from pathlib import Path

import pytest
from nats.aio.client import Client

from trimtab.blobs import locations
from trimtab.blobs.directory import DirectoryBlobStore
from trimtab.blobs.jetstream import JetStreamBlobStore


@pytest.mark.parametrize(
    ("location", "directory"),
    [
        ("nats", None),
        ("/var/blobs", "/var/blobs"),
        ("./blobs", "blobs"),
        ("../blobs", "../blobs"),
        ("file:///var/my%20blobs", "/var/my blobs"),
        ("file://localhost/var/blobs", "/var/blobs"),
    ],
)
def test_a_location_is_nats_or_a_directory(location: str, directory: str | None) -> None:
    found = locations.directory_of(location)
    assert found == (None if directory is None else Path(directory))
    store = locations.open_store(location, Client())
    assert isinstance(store, JetStreamBlobStore if directory is None else DirectoryBlobStore)


@pytest.mark.parametrize(
    "location",
    ["", "blobs", "NATS", "nats://host", "s3://bucket", "file://host/blobs", "file:blobs", "~/x"],
)
def test_any_other_text_is_no_location(location: str) -> None:
    with pytest.raises(ValueError, match="nats, or a directory such as"):
        locations.directory_of(location)
