"""The directory of manifests."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab.errors import Conflict, Invalid, Unavailable
from trimtab_clusterres.cluster import DirectoryCluster, dump
from trimtab_clusterres.render import Manifest


def manifest(name: str = "a", kind: str = "ConfigMap", group: str = "", **data: str) -> Manifest:
    return Manifest(group, kind, name, {"kind": kind, "data": dict(data)})


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def test_each_object_has_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    written = await DirectoryCluster(tmp_path / "new").apply("ns", [manifest(), manifest("b:c.d")])
    assert written == 2
    assert files(tmp_path / "new") == ["ns/ConfigMap-a.yaml", "ns/ConfigMap-b:c.d.yaml"]
    assert (tmp_path / "new/ns/ConfigMap-a.yaml").stat().st_mode & 0o777 == 0o600


async def test_only_what_differs_is_written(tmp_path: Path) -> None:
    cluster = DirectoryCluster(tmp_path)
    await cluster.apply("ns", [manifest("a", x="1"), manifest("b", x="1")])
    before = {path.name: path.stat().st_ino for path in (tmp_path / "ns").iterdir()}
    assert await cluster.apply("ns", [manifest("a", x="1"), manifest("b", x="2")]) == 1
    after = {path.name: path.stat().st_ino for path in (tmp_path / "ns").iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"ConfigMap-b.yaml"}


@pytest.mark.parametrize("namespace", ["..", ".", "", "a/b", "../a", "a\\b", "a\0b", ".hidden"])
async def test_a_namespace_cannot_leave_the_directory(tmp_path: Path, namespace: str) -> None:
    with pytest.raises(Invalid, match="namespace"):
        await DirectoryCluster(tmp_path / "root").apply(namespace, [manifest()])
    assert files(tmp_path) == []


@pytest.mark.parametrize("bad", [manifest("../../a"), manifest("a", kind="../X"), manifest("a\n")])
async def test_an_object_cannot_leave_the_directory_and_nothing_else_is_written(
    tmp_path: Path, bad: Manifest
) -> None:
    with pytest.raises(Invalid, match="object"):
        await DirectoryCluster(tmp_path / "root").apply("ns", [manifest("good"), bad])
    assert files(tmp_path) == []


async def test_two_objects_cannot_share_a_file(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match=r"ConfigMap-a\.yaml"):
        await DirectoryCluster(tmp_path).apply("ns", [manifest(), manifest(group="other.example")])


async def test_a_directory_that_cannot_be_written_is_told_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"file.*: Not a directory"):
        await DirectoryCluster(tmp_path / "file").apply("ns", [manifest()])
    # A directory in the file's place makes the rename fail, as root as well.
    (tmp_path / "ns" / "ConfigMap-a.yaml" / "x").mkdir(parents=True)
    with pytest.raises(Unavailable, match="Is a directory"):
        await DirectoryCluster(tmp_path).apply("ns", [manifest()])
    assert files(tmp_path) == ["file"]


ONES, TWOS = manifest(x="1" * 20_000), manifest(x="2" * 20_000)


@pytest.fixture
def torn(tmp_path: Path) -> Iterator[list[bytes]]:
    """What a reader found in the file that was not one of the two whole manifests."""
    path = tmp_path / "ns" / "ConfigMap-a.yaml"
    whole = (dump(ONES), dump(TWOS))
    found: list[bytes] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.wait(0.0001):
            if path.exists() and (content := path.read_bytes()) not in whole:
                found.append(content)

    reader = threading.Thread(target=read)
    reader.start()
    yield found
    stop.set()
    reader.join()


async def test_a_reader_never_sees_half_a_manifest(tmp_path: Path, torn: list[bytes]) -> None:
    cluster = DirectoryCluster(tmp_path)
    for _ in range(30):
        await cluster.apply("ns", [ONES])
        await cluster.apply("ns", [TWOS])
    assert torn == []
    assert os.listdir(tmp_path / "ns") == ["ConfigMap-a.yaml"]
