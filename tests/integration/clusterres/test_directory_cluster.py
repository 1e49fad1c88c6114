"""The cluster that is a directory of manifests."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
import yaml

from tests.integration.clusterres.cluster_contract import (
    NAMESPACE,
    ChangesContract,
    ClusterContract,
)
from tests.servers import PATIENCE_SECONDS
from trimtab.errors import Conflict, Invalid, Unavailable
from trimtab.templates.dumping import dump
from trimtab.templates.manifests import Manifest, ObjectKey
from trimtab_clusterres.clusters.directory import DirectoryCluster
from trimtab_clusterres.clusters.port import Cluster


class TestDirectoryCluster(ClusterContract, ChangesContract):
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Cluster:
        self.root = tmp_path / "cluster"
        self.directory = self.root / NAMESPACE
        return self.another(self)  # type: ignore[arg-type]  # the directory is all that it needs

    def another(self, adapter: Cluster) -> Cluster:
        return DirectoryCluster(self.root, poll_seconds=0.01)

    def objects(self, adapter: Cluster) -> dict[str, dict[str, str]]:
        files = self.directory.glob("ConfigMap-*.yaml")
        found = [yaml.safe_load(file.read_text()) for file in files]
        return {each["metadata"]["name"]: each["data"] for each in found}

    def put(self, adapter: Cluster, name: str, *, namespace: str = "", **data: str) -> None:
        directory = self.root / (namespace or NAMESPACE)
        directory.mkdir(parents=True, exist_ok=True)
        body = {"metadata": {"name": name}, "data": data}
        (directory / f"ConfigMap-{name}.yaml").write_text(yaml.safe_dump(body))

    def delete(self, adapter: Cluster, name: str) -> None:
        (self.directory / f"ConfigMap-{name}.yaml").unlink()

    def lose_record(self, adapter: Cluster) -> None:
        (self.directory / ".inventory.json").write_text("{")

    def unavailable(self, adapter: Cluster) -> Cluster:
        self.root.write_text("a file where the directory should be")
        return adapter


def manifest(name: str = "a", kind: str = "ConfigMap", group: str = "", **data: str) -> Manifest:
    return Manifest(
        group, kind, name, {"kind": kind, "metadata": {"name": name}, "data": dict(data)}
    )


def files(root: Path) -> list[str]:
    """Return the files below the root, except for inventories."""
    names = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    return sorted(name for name in names if not name.endswith(".inventory.json"))


async def test_each_object_has_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    await DirectoryCluster(tmp_path / "new").apply("ns", [manifest(), manifest("b:c.d")])
    assert files(tmp_path / "new") == ["ns/ConfigMap-a.yaml", "ns/ConfigMap-b:c.d.yaml"]
    assert (tmp_path / "new/ns/ConfigMap-a.yaml").stat().st_mode & 0o777 == 0o600


def inodes(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in directory.iterdir()}


async def test_a_file_that_would_not_change_is_not_written(tmp_path: Path) -> None:
    cluster = DirectoryCluster(tmp_path)
    await cluster.apply("ns", [manifest("a", x="1"), manifest("b", x="1")])
    before = inodes(tmp_path / "ns")
    await cluster.apply("ns", [manifest("a", x="1"), manifest("b", x="2")])
    after = inodes(tmp_path / "ns")
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


async def test_a_directory_that_cannot_be_written_is_reported_and_left_unchanged(
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


async def test_an_object_whose_api_group_changes_keeps_its_file(tmp_path: Path) -> None:
    cluster = DirectoryCluster(tmp_path)
    await cluster.apply("ns", [manifest(group="a.example")])
    await cluster.apply("ns", [manifest(group="b.example")])
    key = ObjectKey("b.example", "ConfigMap", "a")
    assert (await cluster.read("ns")).created == {key}
    assert files(tmp_path) == ["ns/ConfigMap-a.yaml"]


async def test_a_directory_of_an_earlier_release_is_adopted(tmp_path: Path) -> None:
    (tmp_path / "ns").mkdir()
    (tmp_path / "ns" / "ConfigMap-a.yaml").write_bytes(dump(manifest().placed("ns")))
    cluster = DirectoryCluster(tmp_path)
    [result] = await cluster.apply("ns", [manifest()])
    assert result.outcome == "unchanged"
    record = json.loads((tmp_path / "ns" / ".inventory.json").read_text())
    assert (record["created"], record["adopted"]) == ([], [["", "ConfigMap", "a"]])


async def test_changes_go_on_where_a_directory_is_replaced_by_a_file(tmp_path: Path) -> None:
    cluster = DirectoryCluster(tmp_path, poll_seconds=0.01)
    for namespace in ("a", "b"):
        await cluster.apply(namespace, [manifest()])
    async with aclosing(cluster.changes()) as changes:  # type: ignore[type-var]
        (tmp_path / "a" / "ConfigMap-a.yaml").unlink()
        (tmp_path / "a" / ".inventory.json").unlink()
        (tmp_path / "a").rmdir()
        (tmp_path / "a").write_text("")
        assert await asyncio.wait_for(anext(changes), PATIENCE_SECONDS) == "a"
        (tmp_path / "b" / "ConfigMap-a.yaml").write_text("edited")
        assert await asyncio.wait_for(anext(changes), PATIENCE_SECONDS) == "b"
    await cluster.close()


ONES, TWOS = manifest(x="1" * 20_000), manifest(x="2" * 20_000)


@pytest.fixture
def torn(tmp_path: Path) -> Iterator[list[bytes]]:
    """Collect every content that a reader finds and that is neither of the two manifests."""
    path = tmp_path / "ns" / "ConfigMap-a.yaml"
    whole = tuple(dump(each.placed("ns")) for each in (ONES, TWOS))
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
    assert sorted(os.listdir(tmp_path / "ns")) == [".inventory.json", "ConfigMap-a.yaml"]


async def test_nothing_is_written_or_deleted_behind_the_fence(tmp_path: Path) -> None:
    before = DirectoryCluster(tmp_path)
    await before.apply("ns", [manifest()])

    def refuse() -> None:
        raise Unavailable("this replica is a standby")

    cluster = DirectoryCluster(tmp_path, fence=refuse)
    for change in (cluster.apply("ns", [TWOS]), cluster.prune("ns", [manifest().key])):
        with pytest.raises(Unavailable, match="standby"):
            await change
    assert await before.compare("ns", [manifest()]) == ()


async def test_an_object_that_is_made_again_has_another_uid(tmp_path: Path) -> None:
    cluster, key = DirectoryCluster(tmp_path), ObjectKey("", "ConfigMap", "a")
    uids = []
    for _ in range(2):
        await cluster.apply("ns", [manifest()])
        await cluster.apply("ns", [manifest()])
        uids.append((await DirectoryCluster(tmp_path).read("ns")).entries[key].uid)
        await cluster.prune("ns", [key])
    assert all(uids)
    assert uids[0] != uids[1]
