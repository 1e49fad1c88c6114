"""The data directory of an embedded system: its paths, its lock, its API token, its address."""

import fcntl
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.errors import Conflict, Rejected

DEFAULT = Path(".trimtab")

_OTHERS = 0o077
"""The permissions of everyone but the owner."""


class Unwritable(Rejected):
    """The data directory cannot be created or written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"the data directory {path} cannot be written: {reason}; "
            "name another one with --data or TRIMTAB_DATA"
        )
        self.path = path


class NotPrivate(Rejected):
    """Others may read the data directory, or write what is in it, and that cannot be changed."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} {reason}; the data directory holds secrets: name one of your own with --data "
            "or TRIMTAB_DATA"
        )
        self.path = path


class InUse(Conflict):
    """Another `trimtab up` uses the directory."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(
            f"another `trimtab up` (process {holder}) runs on the data directory {path}; "
            "stop it first, or name another directory with --data"
        )
        self.path = path


@dataclass(frozen=True)
class Directory:
    """The paths of all files of one embedded system."""

    path: Path

    @property
    def token_file(self) -> Path:
        return self.path / "token"

    @property
    def settings_file(self) -> Path:
        return self.path / "settings.yaml"

    @property
    def address_file(self) -> Path:
        return self.path / "address"

    @property
    def nats_file(self) -> Path:
        """The file with the URL of NATS and its password of this start, for other programs."""
        return self.path / "nats.url"

    @property
    def database(self) -> Path:
        return self.path / "admin.db"

    @property
    def blobs(self) -> Path:
        return self.path / "blobs"

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def cluster(self, name: str) -> Path:
        return self.path / "clusters" / name

    def log(self, program: str) -> Path:
        return self.logs / f"{program}.log"

    def server_data(self, server: str) -> Path:
        """Return the directory in which a server stores its data."""
        return self.path / server

    def url(self) -> str | None:
        """Return the address of the API of the running system; ``None`` where none was started."""
        url = self._address().get("url")
        return url if isinstance(url, str) else None

    def ports(self) -> Mapping[str, int]:
        """Return the port of each program of the running system; empty where none was started."""
        ports = self._address().get("ports")
        return ports if isinstance(ports, dict) else {}

    def _address(self) -> Mapping[str, Any]:
        try:
            address = json.loads(self.address_file.read_text())
        except (OSError, ValueError):
            return {}
        return address if isinstance(address, dict) else {}

    def api_token(self) -> str:
        """Return the API token of the first admin; empty where there is none."""
        try:
            return self.token_file.read_bytes().decode(errors="replace").strip()
        except OSError:
            return ""

    def write_address(self, url: str, nats_url: str, ports: Mapping[str, int]) -> None:
        """Write the address of the API and the ports of all programs, and the URL of NATS."""
        write_private(self.nats_file, nats_url + "\n")
        write_private(self.address_file, json.dumps({"url": url, "ports": ports}) + "\n")

    def remove_address(self) -> None:
        """Remove the addresses of the API and of NATS."""
        self.address_file.unlink(missing_ok=True)
        self.nats_file.unlink(missing_ok=True)


@contextmanager
def lock(path: Path) -> Iterator[Directory]:
    """Create the directory where it is missing, and lock it against a second system.

    The lock ends with the process, however that ends. Raises `Unwritable`, `NotPrivate` and
    `InUse`.
    """
    directory = Directory(path.absolute())
    try:
        directory.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make_private(directory)
        directory.logs.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=directory.path):
            pass  # A directory on a read-only disk exists, but is not writable.
        file = os.open(directory.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Unwritable(path, error.strerror or str(error)) from error
    try:
        _take_lock(file, directory.path)
        yield directory
    finally:
        os.close(file)


def _make_private(directory: Directory) -> None:
    """Remove the permissions of others from the directory, its database and its logs.

    Raises `NotPrivate`, also for an open directory that may be meant for something else.
    """
    path = directory.path
    _check_own(path)
    if not _mode(path) & _OTHERS:
        return
    if any(path.iterdir()) and not directory.lock_file.exists():
        raise NotPrivate(path, "is not empty and can be read by others, and is not Trimtab's yet")
    for entry in path.iterdir():
        _check_own(entry)
    for entry in (path, *path.glob(f"{directory.database.name}*"), *path.glob("logs")):
        entry.chmod(_mode(entry) & ~_OTHERS)
    if _mode(path) & _OTHERS:
        raise NotPrivate(path, "can be read by others, which its file system does not change")


def _check_own(path: Path) -> None:
    """Raises `NotPrivate`."""
    if path.is_symlink():
        raise NotPrivate(path, "is a symbolic link")
    if path.stat().st_uid != os.geteuid():
        raise NotPrivate(path, f"belongs to another user (uid {path.stat().st_uid})")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _take_lock(file: int, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InUse(path, os.pread(file, 20, 0).decode() or "unknown") from None
    os.truncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)


def ensure_token(directory: Directory) -> None:
    """Create an API token where there is none; it stays the same, so that open shells work on."""
    if not directory.api_token():
        write_private(directory.token_file, secrets.token_urlsafe(32) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file atomically. From its first byte on, only its owner can read it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    os.replace(name, path)
