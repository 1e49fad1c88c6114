"""The data directory of an embedded system: its places, its lock, its token, its address."""

import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trimtab.errors import Conflict, Rejected

DEFAULT = Path(".trimtab")


class Unwritable(Rejected):
    """The data directory cannot be made or written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"the data directory {path} cannot be written: {reason}; "
            "name another one with --data or TRIMTAB_DATA"
        )
        self.path = path


class InUse(Conflict):
    """Another `trimtab up` runs on the directory."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(
            f"another `trimtab up` (process {holder}) runs on the data directory {path}; "
            "stop it first, or name another directory with --data"
        )
        self.path = path


@dataclass(frozen=True)
class Directory:
    """Where everything of one embedded system lies."""

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
        """Where NATS answers, with the password of this start: for other programs of the person."""
        return self.path / "nats.url"

    @property
    def database(self) -> Path:
        return self.path / "admin.db"

    def cluster(self, name: str) -> Path:
        return self.path / "clusters" / name

    def log(self, program: str) -> Path:
        return self.path / "logs" / f"{program}.log"

    def store(self, server: str) -> Path:
        """Where a server keeps its data."""
        return self.path / server

    def url(self) -> str | None:
        """Where the API of the running system answers; ``None`` where none was started."""
        try:
            address = json.loads(self.address_file.read_text())
        except (OSError, ValueError):
            return None
        url = address.get("url") if isinstance(address, dict) else None
        return url if isinstance(url, str) else None

    def token(self) -> str:
        """What the API wants to hear; empty where there is none."""
        try:
            return self.token_file.read_text().strip()
        except OSError:
            return ""

    def announce(self, url: str, nats: str) -> None:
        """Tell the command line where the API is, and other programs how to reach NATS."""
        write_private(self.nats_file, nats + "\n")
        write_private(self.address_file, json.dumps({"url": url}) + "\n")

    def withdraw(self) -> None:
        """Take the announcement back."""
        self.address_file.unlink(missing_ok=True)
        self.nats_file.unlink(missing_ok=True)


@contextmanager
def held(path: Path) -> Iterator[Directory]:
    """The directory, made where it is missing and locked against a second system.

    The lock ends with the process, however it ends. Raises `Unwritable` and `InUse`.
    """
    directory = Directory(path.absolute())
    try:
        directory.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.log("any").parent.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=directory.path):
            pass  # A directory on a read-only disk is there and yet not writable.
        lock = os.open(directory.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Unwritable(path, error.strerror or str(error)) from error
    try:
        _lock(lock, directory.path)
        yield directory
    finally:
        os.close(lock)


def _lock(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InUse(path, os.pread(lock, 20, 0).decode() or "unknown") from None
    os.truncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)


def ensure_token(directory: Directory) -> None:
    """The token stays the same from start to start, so that open shells keep working."""
    if not directory.token():
        write_private(directory.token_file, secrets.token_urlsafe(32) + "\n")


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, and readable by its owner only from its first byte."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    os.replace(name, path)
