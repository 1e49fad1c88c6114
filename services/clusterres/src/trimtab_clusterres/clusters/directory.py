"""The embedded cluster: a directory with one manifest per object, each written atomically."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from trimtab.errors import Unavailable
from trimtab.runtime.threads import Threads
from trimtab.templates.manifests import Manifest, ObjectKey
from trimtab.templates.scopes import in_namespace
from trimtab_clusterres.clusters import manifest_files
from trimtab_clusterres.clusters.manifest_files import Signature
from trimtab_clusterres.clusters.port import ApiKind, Difference, Inventory, Result

T = TypeVar("T")

_THREADS = 4
"""File operations at once; each waits for the disk."""
_POLL_SECONDS = 1.0
"""How often `DirectoryCluster.changes` compares the files with what was written."""
_POLL_SHARE = 10
"""The least pause after such a comparison, as a multiple of how long it took."""


class DirectoryCluster:
    """A `Cluster` whose objects are the files ``<root>/<namespace>/<Kind>-<name>.yaml``.

    A file stands for one object, so two objects that differ in the API group alone cannot both
    exist. Manifests are readable by their owner alone, because a manifest may be a Secret.
    """

    def __init__(
        self,
        root: Path,
        *,
        poll_seconds: float = _POLL_SECONDS,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        """``fence`` is called directly before each write; where it raises, nothing is written.

        A process that is suspended after it may write once more when it goes on.
        """
        self._root = root
        self._fence = fence
        self._poll_seconds = poll_seconds
        # Own threads: a file system that hangs must not use up those of the whole process.
        self._threads = Threads(_THREADS, f"cluster-{root.name}")
        self._running: dict[str, asyncio.Future[object]] = {}
        self._written: dict[str, dict[Path, Signature]] = {}

    async def read(self, namespace: str) -> Inventory:
        """Return the inventory. Raises `Invalid` on a name that cannot be a directory's."""
        directory = self._directory(namespace)
        return await self._in_order(namespace, lambda: manifest_files.read_inventory(directory))

    async def inventories(self) -> Mapping[str, Inventory]:
        """Return the inventory of every namespace that has one."""
        work = partial(_translated, partial(manifest_files.read_inventories, self._root))
        return await self._threads.submit(work)

    async def apply(
        self, namespace: str, manifests: Sequence[Manifest], *, repair: bool = False
    ) -> tuple[Result, ...]:
        """Write each file whose content differs, in order; files have one manager, so any repairs.

        Raises `Invalid` on a name that cannot be a file's, and `Conflict` where two objects need
        the same file.
        """
        directory = self._directory(namespace)

        def work() -> tuple[Result, ...]:
            # Formatting a large value takes long enough to belong into the thread.
            placed = [in_namespace(manifest, namespace) for manifest in manifests]
            contents = manifest_files.contents(directory, placed)
            keys = {manifest_files.path_of(directory, one.key): one.key for one in placed}
            self._fence()
            outcomes = manifest_files.write_all(directory, contents, keys)
            self._written[namespace] = {path: manifest_files.signature(path) for path in contents}
            return tuple(Result(key, outcome) for key, outcome in outcomes)

        return await self._in_order(namespace, work)

    async def compare(
        self, namespace: str, manifests: Sequence[Manifest]
    ) -> tuple[Difference, ...]:
        """Return the objects whose file is missing or has other content."""
        directory = self._directory(namespace)

        def work() -> tuple[Difference, ...]:
            placed = [in_namespace(manifest, namespace) for manifest in manifests]
            contents = manifest_files.contents(directory, placed)
            return tuple(
                Difference(one.key, manifest_files.read_manifest(path), one.body)
                for one, (path, content) in zip(placed, contents.items(), strict=True)
                if manifest_files.differs(path, content)
            )

        return await self._in_order(namespace, work)

    async def prune(self, namespace: str, keys: Collection[ObjectKey]) -> tuple[Result, ...]:
        """Delete the files of these objects where they were created here."""
        directory = self._directory(namespace)

        def work() -> tuple[Result, ...]:
            self._fence()
            pruned = manifest_files.prune(directory, keys)
            for key, _ in pruned:
                path = manifest_files.path_of(directory, key)
                self._written.get(namespace, {}).pop(path, None)
            return tuple(Result(key, outcome) for key, outcome in pruned)

        return await self._in_order(namespace, work)

    @property
    def unwatched(self) -> Sequence[str]:
        return ()

    async def missing_permissions(self, kinds: Collection[ApiKind]) -> tuple[str, ...]:
        """Return nothing: a directory takes every kind, and the first apply shows who may write."""
        return ()

    async def close(self) -> None:
        """End the threads, without waiting for work that hangs."""
        self._threads.close()

    async def changes(self) -> AsyncIterator[str]:
        """Compare the files with what this process wrote, again and again."""
        loop = asyncio.get_running_loop()
        pause = self._poll_seconds
        while True:
            await asyncio.sleep(pause)
            began = loop.time()
            for namespace in await self._threads.submit(self._suspects):
                if await self._in_order(namespace, partial(self._has_changed, namespace)):
                    yield namespace
            # Thousands of namespaces take a while, and must not keep a processor busy.
            pause = max(self._poll_seconds, _POLL_SHARE * (loop.time() - began))

    def _suspects(self) -> list[str]:
        """Return the namespaces that seem to have changed, which a write at this time makes so."""
        return [
            namespace
            for namespace, before in list(self._written.items())
            if any(manifest_files.signature(path) != seen for path, seen in list(before.items()))
        ]

    def _has_changed(self, namespace: str) -> bool:
        """Whether a file differs from what was written or reported last."""
        before = self._written.get(namespace, {})
        now = {path: manifest_files.signature(path) for path in before}
        self._written[namespace] = now
        return now != before

    def _directory(self, namespace: str) -> Path:
        return self._root / manifest_files.file_name("namespace", namespace)

    async def _in_order(self, namespace: str, work: Callable[[], T]) -> T:
        """Run blocking work in a thread, after earlier work on the namespace has ended.

        The work goes on where the caller is cancelled, because a thread cannot be stopped.
        """
        while (before := self._running.get(namespace)) is not None:
            await asyncio.wait([before])
        running = self._threads.submit(partial(_translated, work))
        self._running[namespace] = running  # type: ignore[assignment]  # only its end matters

        def ended(done: asyncio.Future[T]) -> None:
            if self._running.get(namespace) is done:
                del self._running[namespace]
            # Retrieved here, because a cancelled caller no longer does.
            if not done.cancelled():
                done.exception()

        running.add_done_callback(ended)
        return await asyncio.shield(running)


def _translated(work: Callable[[], T]) -> T:
    try:
        return work()
    except OSError as error:
        raise Unavailable(f"{error.filename}: {error.strerror}") from error
