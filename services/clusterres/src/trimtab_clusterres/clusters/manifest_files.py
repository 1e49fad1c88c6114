"""The files of one namespace of a directory cluster: manifests and the inventory. Blocking."""

import os
import re
import tempfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from trimtab.errors import Conflict, Invalid, Rejected
from trimtab.templates.dumping import dump
from trimtab.templates.manifests import Manifest, ObjectKey
from trimtab.templates.parsing import parse
from trimtab_clusterres.clusters.port import Entry, Inventory, Outcome

_INVENTORY = ".inventory.json"
_FILE_NAME = re.compile(r"(?!\.)[^/\\\x00-\x1f\x7f\ud800-\udfff]+")

Signature = tuple[int, int, int] | None
"""Inode, modification time and size of a file; ``None`` where there is no file."""


class _Record(BaseModel):
    """The inventory as it is stored beside the manifests of a namespace."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    created: frozenset[ObjectKey] = frozenset()
    adopted: frozenset[ObjectKey] = frozenset()
    uids: tuple[tuple[ObjectKey, str], ...] = ()


def file_name(what: str, name: str) -> str:
    if not _FILE_NAME.fullmatch(name):
        raise Invalid(what, name, "a name without slashes that does not begin with a dot")
    return name


def path_of(directory: Path, key: ObjectKey) -> Path:
    return directory / f"{file_name('object', f'{key.kind}-{key.name}')}.yaml"


def signature(path: Path) -> Signature:
    try:
        status = path.stat()
    except OSError:
        # Also where the directory is none any longer: the next apply reports that.
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def contents(directory: Path, manifests: Iterable[Manifest]) -> dict[Path, bytes]:
    contents: dict[Path, bytes] = {}
    for manifest in manifests:
        path = path_of(directory, manifest.key)
        if path in contents:
            raise Conflict(f"two objects {manifest} of different API groups need {path.name}")
        contents[path] = dump(manifest)
    return contents


def write_all(
    directory: Path, contents: Mapping[Path, bytes], keys: Mapping[Path, ObjectKey]
) -> list[tuple[ObjectKey, Outcome]]:
    """Write each file whose content differs, after the inventory names its object.

    A crash may take back a write, which the next process repeats, but never the inventory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _record(directory, keys)
    outcomes: list[tuple[ObjectKey, Outcome]] = []
    for path, content in contents.items():
        changed = differs(path, content)
        if changed:
            _replace(path, content)
        outcomes.append((keys[path], "applied" if changed else "unchanged"))
    return outcomes


def _record(directory: Path, keys: Mapping[Path, ObjectKey]) -> None:
    """Add objects to the inventory; one whose file exists without being in it is adopted."""
    inventory = read_inventory(directory)
    # By file, because an object whose API group changes keeps its file.
    known = {path_of(directory, key): key for key in inventory.entries}
    entries = dict(inventory.entries)
    for path, key in keys.items():
        before = known.get(path)
        entries[key] = _new_entry(path) if before is None else entries.pop(before)
    if entries != inventory.entries:
        _write_inventory(directory, Inventory(entries))


def _new_entry(path: Path) -> Entry:
    """Return the entry of an object; its uid differs from that of a later one of the same name."""
    return Entry(created=not path.exists(), uid=uuid4().hex)


def prune(directory: Path, keys: Collection[ObjectKey]) -> list[tuple[ObjectKey, Outcome]]:
    """Delete the files of created objects; the inventory loses all these objects afterwards."""
    entries = dict(read_inventory(directory).entries)
    pruned = [(key, entries.pop(key)) for key in sorted(set(keys) & entries.keys())]
    for key, entry in pruned:
        if entry.created:
            path_of(directory, key).unlink(missing_ok=True)
    if pruned:
        _flush(directory)
        _write_inventory(directory, Inventory(entries))
    return [(key, "pruned" if entry.created else "released") for key, entry in pruned]


def read_inventory(directory: Path) -> Inventory:
    """Return the inventory; a lost record means that every object counts as adopted."""
    try:
        record = _Record.model_validate_json((directory / _INVENTORY).read_bytes())
    except (FileNotFoundError, ValidationError):
        return Inventory()
    uids = dict(record.uids)
    return Inventory(
        {
            key: Entry(key in record.created, uids.get(key, ""))
            for key in record.created | record.adopted
        }
    )


def read_inventories(root: Path) -> dict[str, Inventory]:
    """Return the inventory of each namespace that has one, by its name."""
    found = {path.parent.name: read_inventory(path.parent) for path in root.glob(f"*/{_INVENTORY}")}
    return {namespace: inventory for namespace, inventory in found.items() if inventory.entries}


def read_manifest(path: Path) -> dict[str, JsonValue] | None:
    """Return the object of a file; ``None`` where there is no file, or none with one object."""
    try:
        [body] = parse(path.name, path.read_text(encoding="utf-8")).objects({})
    except (FileNotFoundError, UnicodeDecodeError, Rejected, ValueError):
        return None
    return body


def _write_inventory(directory: Path, inventory: Inventory) -> None:
    uids = tuple((key, entry.uid) for key, entry in inventory.entries.items())
    record = _Record(created=inventory.created, adopted=inventory.adopted, uids=uids)
    _replace(directory / _INVENTORY, record.model_dump_json().encode())
    _flush(directory)


def differs(path: Path, content: bytes) -> bool:
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
