"""The cache of bundles: a directory that others delete, damage and share while it is used."""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from trimtab.blobs.port import digest_of, missing
from trimtab.errors import Unavailable
from trimtab_propeller.executors.bundle_cache import BundleCache
from trimtab_propeller.executors.port import AttemptRejected, ExecutorUnavailable

CONTENTS = {digest_of(content): content for content in (b"a" * 100, b"b" * 100, b"c" * 100)}
A, B, C = CONTENTS
Make = Callable[..., BundleCache]


class Store:
    """The blobs of a store, and how often each was fetched."""

    def __init__(self) -> None:
        self.blobs = dict(CONTENTS)
        self.fetched: list[str] = []
        self.error: Exception | None = None

    async def get(self, digest: str) -> bytes:
        self.fetched.append(digest)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        if digest not in self.blobs:
            raise missing(digest)
        return self.blobs[digest]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "bundles"


@pytest.fixture
def cache(store: Store, directory: Path) -> BundleCache:
    return BundleCache(directory, store.get, 250)


async def test_a_bundle_is_fetched_once_however_many_attempts_need_it(
    cache: BundleCache, store: Store
) -> None:
    found = await asyncio.gather(*(cache.get(A) for _ in range(20)))
    await cache.ensure(A)
    assert [set(found), store.fetched] == [{CONTENTS[A]}, [A]]


async def test_propellers_share_what_one_of_them_has_fetched(
    cache: BundleCache, store: Store, directory: Path
) -> None:
    await cache.ensure(A)
    assert await BundleCache(directory, store.get, 250).get(A) == CONTENTS[A]
    assert store.fetched == [A]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def change(path: Path) -> None:
    path.write_bytes(b"x" * 100)


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [Path.unlink, cut, change, replace_by_directory])
async def test_what_is_damaged_or_deleted_is_fetched_again(
    cache: BundleCache, store: Store, directory: Path, damage: Callable[[Path], None]
) -> None:
    await cache.get(A)
    damage(directory / A)
    assert await cache.get(A) == CONTENTS[A]
    assert store.fetched == [A, A]


async def test_the_least_recently_used_are_deleted(
    cache: BundleCache, store: Store, directory: Path
) -> None:
    for index, digest in enumerate((A, B)):
        await cache.get(digest)
        os.utime(directory / digest, (index, index))
    await cache.get(A)
    unfinished = directory / ".part-1"
    unfinished.touch()
    os.utime(unfinished, (0, 0))
    (directory / ".part-2").touch()
    await cache.get(C)
    assert {path.name for path in directory.iterdir()} == {A, C, ".part-2"}
    assert await cache.get(B) == CONTENTS[B]


async def test_a_bundle_that_is_larger_than_the_cache_is_returned(
    store: Store, directory: Path
) -> None:
    cache = BundleCache(directory, store.get, 0)
    for digest in (A, B, A):
        assert await cache.get(digest) == CONTENTS[digest]
    assert [path.name for path in directory.iterdir()] == [A]


async def test_a_bundle_is_returned_where_it_cannot_be_kept(
    cache: BundleCache, directory: Path
) -> None:
    directory.write_text("a file instead of a directory")
    assert [await cache.get(A), await cache.get(A)] == [CONTENTS[A]] * 2


async def test_all_of_it_may_be_deleted_while_it_is_used(
    cache: BundleCache, store: Store, directory: Path
) -> None:
    async def use(digest: str) -> None:
        for _ in range(30):
            assert await cache.get(digest) == CONTENTS[digest]

    using = asyncio.gather(*(use(digest) for digest in (A, B, C) * 3))
    while not using.done():
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
    await using
    assert len(store.fetched) > 3


async def rejected(call: Awaitable[object], text: str) -> None:
    with pytest.raises(AttemptRejected, match=text):
        await call


async def test_a_missing_bundle_is_rejected_with_the_remedy(
    cache: BundleCache, store: Store, directory: Path
) -> None:
    store.blobs.clear()
    await rejected(cache.ensure(A), f"blob '{A}' does not exist; register what names it again")
    for digest in ("", "../../location", A.upper(), A[:-1]):
        await rejected(cache.get(digest), "a SHA-256 in 64 hexadecimal digits")
    assert not directory.exists()


async def test_a_store_that_does_not_respond_or_returns_something_else_is_unavailable(
    cache: BundleCache, store: Store, directory: Path
) -> None:
    store.error = Unavailable("no answer")
    with pytest.raises(ExecutorUnavailable, match="the code cannot be fetched: no answer"):
        await cache.get(A)
    store.error, store.blobs[A] = None, b"other"
    with pytest.raises(ExecutorUnavailable, match=f"bundle {A} is damaged"):
        await cache.get(A)
    store.blobs[A] = CONTENTS[A]
    assert await cache.get(A) == CONTENTS[A]
