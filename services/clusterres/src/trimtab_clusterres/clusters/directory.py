"""The embedded cluster: a directory with one manifest per object, each written atomically."""

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from trimtab.errors import Conflict, Invalid, Unavailable
from trimtab_clusterres import scalars
from trimtab_clusterres.clusters.port import Inventory, Manifest, ObjectKey

T = TypeVar("T")

_THREADS = 4
"""File operations at once; each waits for the disk."""
_POLL_SECONDS = 1.0
"""How often `DirectoryCluster.changes` compares the files with what was written."""
_INVENTORY = ".inventory.json"
_OTHER_BREAKS = re.compile("[\r\x85\u2028\u2029\ufeff]")
_FILE_NAME = re.compile(r"(?!\.)[^/\\\x00-\x1f\x7f\ud800-\udfff]+")

Signature = tuple[int, int, int] | None
"""Inode, modification time and size of a file; ``None`` where there is no file."""


class _Record(BaseModel):
    """The inventory as it is stored beside the manifests of a namespace."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    created: frozenset[ObjectKey] = frozenset()
    adopted: frozenset[ObjectKey] = frozenset()


class DirectoryCluster:
    """A `Cluster` whose objects are the files ``<root>/<namespace>/<Kind>-<name>.yaml``.

    A file stands for one object, so two objects that differ in the API group alone cannot both
    exist. Manifests are readable by their owner alone, because a manifest may be a Secret.
    """

    def __init__(self, root: Path, *, poll_seconds: float = _POLL_SECONDS) -> None:
        self._root = root
        self._poll_seconds = poll_seconds
        # Own threads: a file system that hangs must not use up those of the whole process.
        self._threads = ThreadPoolExecutor(_THREADS, f"cluster-{root.name}")
        self._running: dict[str, asyncio.Future[object]] = {}
        self._written: dict[str, dict[Path, Signature]] = {}

    async def read(self, namespace: str) -> Inventory:
        """Return the inventory. Raises `Invalid` on a name that cannot be a directory's."""
        directory = self._directory(namespace)
        return await self._in_order(namespace, lambda: _read_inventory(directory))

    async def apply(self, namespace: str, manifests: Sequence[Manifest]) -> int:
        """Write each file whose content differs, in order, and return how many were written.

        Raises `Invalid` on a name that cannot be a file's, and `Conflict` where two objects need
        the same file.
        """
        directory = self._directory(namespace)

        def work() -> int:
            # Formatting a large value takes long enough to belong into the thread.
            contents = _contents(directory, manifests)
            keys = {_path(directory, manifest.key): manifest.key for manifest in manifests}
            written = _write_all(directory, contents, keys)
            self._written[namespace] = {path: _signature(path) for path in contents}
            return written

        return await self._in_order(namespace, work)

    async def prune(self, namespace: str, keep: Collection[ObjectKey]) -> tuple[ObjectKey, ...]:
        """Delete the files of created objects that are not to be kept."""
        directory = self._directory(namespace)

        def work() -> tuple[ObjectKey, ...]:
            pruned = _prune(directory, set(keep))
            for key in pruned:
                self._written.get(namespace, {}).pop(_path(directory, key), None)
            return pruned

        return await self._in_order(namespace, work)

    async def changes(self) -> AsyncIterator[str]:
        """Compare the files with what this process wrote, again and again."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            for namespace in list(self._written):
                if await self._in_order(namespace, partial(self._has_changed, namespace)):
                    yield namespace

    def _has_changed(self, namespace: str) -> bool:
        """Whether a file differs from what was written or reported last."""
        before = self._written.get(namespace, {})
        now = {path: _signature(path) for path in before}
        self._written[namespace] = now
        return now != before

    def _directory(self, namespace: str) -> Path:
        return self._root / _file_name("namespace", namespace)

    async def _in_order(self, namespace: str, work: Callable[[], T]) -> T:
        """Run blocking work in a thread, after earlier work on the namespace has ended.

        The work goes on where the caller is cancelled, because a thread cannot be stopped.
        """
        while (before := self._running.get(namespace)) is not None:
            await asyncio.wait([before])
        running = asyncio.get_running_loop().run_in_executor(self._threads, _translated, work)
        self._running[namespace] = running  # type: ignore[assignment]  # only its end matters

        def ended(done: asyncio.Future[T]) -> None:
            if self._running.get(namespace) is done:
                del self._running[namespace]
            # Retrieved here, because a cancelled caller no longer does.
            if not done.cancelled():
                done.exception()

        running.add_done_callback(ended)
        return await asyncio.shield(running)


def dump(manifest: Manifest) -> bytes:
    """Format a manifest as YAML that go-yaml reads back as the same values.

    Raises `Invalid` where it is nested too deeply.
    """
    try:
        text: str = yaml.dump(
            manifest.body, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000
        )
    except RecursionError as error:
        raise Invalid("object", str(manifest), "one that is nested less deeply") from error
    return text.encode()


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if _OTHER_BREAKS.search(text):
        style = '"'  # PyYAML writes them unescaped in other styles, and a reader folds them.
    elif "\n" in text:
        style = "|"
    elif scalars.resolve(text) is not text:
        style = "'"  # PyYAML quotes only what it would itself read as another type.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent_text)


def _translated(work: Callable[[], T]) -> T:
    try:
        return work()
    except OSError as error:
        raise Unavailable(f"{error.filename}: {error.strerror}") from error


def _file_name(what: str, name: str) -> str:
    if not _FILE_NAME.fullmatch(name):
        raise Invalid(what, name, "a name without slashes that does not begin with a dot")
    return name


def _path(directory: Path, key: ObjectKey) -> Path:
    return directory / f"{_file_name('object', f'{key.kind}-{key.name}')}.yaml"


def _signature(path: Path) -> Signature:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _contents(directory: Path, manifests: Iterable[Manifest]) -> dict[Path, bytes]:
    contents: dict[Path, bytes] = {}
    for manifest in manifests:
        path = _path(directory, manifest.key)
        if path in contents:
            raise Conflict(f"two objects {manifest} of different API groups need {path.name}")
        contents[path] = dump(manifest)
    return contents


def _write_all(
    directory: Path, contents: Mapping[Path, bytes], keys: Mapping[Path, ObjectKey]
) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    _record(directory, keys)
    changed = [path for path, content in contents.items() if _differs(path, content)]
    for path in changed:
        _replace(path, contents[path])
    if changed:
        _flush(directory)
    return len(changed)


def _record(directory: Path, keys: Mapping[Path, ObjectKey]) -> None:
    """Add objects to the inventory; one whose file exists without being in it is adopted."""
    inventory = _read_inventory(directory)
    # By file, because an object whose API group changes keeps its file.
    created = {_path(directory, key): key for key in inventory.created}
    adopted = {_path(directory, key): key for key in inventory.adopted}
    for path, key in keys.items():
        known = created if path in created else adopted
        if path not in created and path not in adopted:
            known = adopted if path.exists() else created
        known[path] = key
    after = Inventory(frozenset(created.values()), frozenset(adopted.values()))
    if after != inventory:
        _write_inventory(directory, after)


def _prune(directory: Path, keep: set[ObjectKey]) -> tuple[ObjectKey, ...]:
    inventory = _read_inventory(directory)
    pruned = tuple(sorted(inventory.created - keep))
    for key in pruned:
        _path(directory, key).unlink(missing_ok=True)
    after = Inventory(inventory.created & keep, inventory.adopted & keep)
    if after != inventory:
        _flush(directory)
        _write_inventory(directory, after)
    return pruned


def _read_inventory(directory: Path) -> Inventory:
    try:
        record = _Record.model_validate_json((directory / _INVENTORY).read_bytes())
    except FileNotFoundError:
        return Inventory()
    except ValidationError:
        # A lost record means that every object counts as adopted.
        return Inventory()
    return Inventory(record.created, record.adopted)


def _write_inventory(directory: Path, inventory: Inventory) -> None:
    record = _Record(created=inventory.created, adopted=inventory.adopted)
    _replace(directory / _INVENTORY, record.model_dump_json().encode())
    _flush(directory)


def _differs(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() != content
    except FileNotFoundError:
        return True


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds the old content or the new one, whole."""
    # In the same directory, because a rename is atomic only within a file system.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _flush(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
