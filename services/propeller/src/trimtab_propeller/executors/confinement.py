"""Confine the tasks of the executor ``process``: they keep what they need, and give up the rest.

The fork server determines once what every task may read, because its tasks import from where it
imports. A task then gives up the rest, before any code of a user runs in it.
"""

import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import trimtab
from trimtab_propeller import ports
from trimtab_propeller.executors import landlock, linux, seccomp

_SYSTEM = (
    "/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/sbin",
    "/usr",
    "/gnu/store",
    "/nix/store",
    "/proc",
    # Processors, memory and devices, by which libraries choose their number of threads.
    "/sys/bus",
    "/sys/class",
    "/sys/devices",
    "/sys/fs/cgroup",
    "/sys/kernel/mm",
    # The resolver's configuration, where /etc/resolv.conf is a link to it.
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/var/lib/ca-certificates",
    *(
        f"/etc/{name}"
        for name in (
            "alternatives",
            "ca-certificates",
            "crypto-policies",
            "fonts",
            "gai.conf",
            "group",
            "host.conf",
            "hostname",
            "hosts",
            "krb5.conf",
            "ld.so.cache",
            "ld.so.conf",
            "ld.so.conf.d",
            "locale.alias",
            "localtime",
            "mime.types",
            "networks",
            "nsswitch.conf",
            "odbc.ini",
            "odbcinst.ini",
            "os-release",
            "passwd",
            "pki/ca-trust",
            "pki/java",
            "pki/tls",
            "protocols",
            "resolv.conf",
            "services",
            "ssl",
            "timezone",
        )
    ),
)
_DEVICES = tuple(f"/dev/{name}" for name in ("full", "null", "random", "shm", "urandom", "zero"))
"""Devices that a task may write to. Semaphores of `multiprocessing` are in ``/dev/shm``."""
_PRIVATE_KEYS = ("/etc/ssl/private", "/etc/pki/tls/private")


@dataclass(frozen=True)
class Confinement:
    """The configuration of what tasks may reach, in addition to their own directories and the
    system's."""

    abi: int = 0
    """The version of Landlock that enforces it; 0 is none."""
    hidden: tuple[str, ...] = ()
    """Paths that no task may read, wherever they are."""
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    ports: str = ports.DEFAULT
    """The TCP ports that tasks may connect to and listen on, as `ports.parse` reads them."""
    closed_ports: str = ""
    """Ports of these that they may not use."""

    @classmethod
    def of_this_kernel(cls) -> "Confinement":
        return cls(abi=landlock.abi())

    def hiding(self, path: Path) -> "Confinement":
        return replace(self, hidden=(*self.hidden, str(path)))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Confinement":
        fields = json.loads(text)
        lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        return cls(**{**fields, **lists})

    @property
    def restricts_tcp(self) -> bool:
        return self.abi >= landlock.TCP_ABI and seccomp.is_known()

    def enforced(self) -> tuple[str, ...]:
        """Return what is enforced, by name."""
        files = ("files",) if self.abi >= 1 else ()
        tcp = ("TCP",) if self.restricts_tcp else ()
        others = ("signals", "abstract sockets") if self.abi >= landlock.COMPLETE_ABI else ()
        return files + tcp + others

    def missing(self) -> tuple[str, ...]:
        """Return what is not enforced here, of what a later kernel or another machine enforces."""
        complete = ("files", "TCP", "signals", "abstract sockets")
        return tuple(name for name in complete if name not in self.enforced())


class Restriction:
    """The restriction of all tasks of one fork server."""

    def __init__(self, confinement: Confinement) -> None:
        """Raises `OSError` where the kernel refuses what it has declared."""
        self._confinement = confinement
        self.readable = _resolved(_readable(confinement))
        self._writable = [*_DEVICES, *confinement.writable]
        self._ports: int | None = None
        if confinement.restricts_tcp:
            closed = ports.parse(confinement.closed_ports)
            allowed = ports.parse(confinement.ports) - closed
            self._ports = landlock.ruleset_of_ports(sorted(allowed))

    def apply(self, own: Sequence[str]) -> None:
        """Give up everything but this, and the task's own directories. Raises `OSError`."""
        if self._confinement.abi == 0:
            return
        landlock.forbid_new_privileges()
        landlock.restrict(
            self._confinement.abi, self.readable, [*self._writable, *own], self._ports
        )
        linux.drop_capabilities()
        if self._ports is not None:
            seccomp.install()


def _readable(confinement: Confinement) -> Iterator[Path]:
    """Yield what every task may read: nothing of it contains a hidden path."""
    hidden = [Path(path).resolve() for path in (*confinement.hidden, *_PRIVATE_KEYS)]
    prefixes = (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)
    libraries = (sysconfig.get_config_var("LIBDIR") or sys.base_prefix,)
    for path in (*_SYSTEM, *prefixes, *libraries, sys.executable):
        yield from _outside(Path(path).resolve(), hidden)
    # An import lists the directories of the path, which only a rule for the whole one allows.
    sources = [*sys.path, *trimtab.__path__]
    yield from (path for path in map(_absolute, sources) if not _contains_any(path, hidden))
    yield from map(Path, confinement.readable)


def _absolute(path: str) -> Path:
    return Path(path).resolve()


def _outside(path: Path, hidden: Sequence[Path]) -> Iterator[Path]:
    """Yield the path, or where hidden ones are in it, what else is in it."""
    if not _contains_any(path, hidden):
        yield path
    elif path not in hidden:
        for child in _children(path):
            yield from _outside(child, hidden)


def _children(path: Path) -> Sequence[Path]:
    """Return what a directory holds, but not what lies elsewhere, behind a link."""
    try:
        return [child for child in path.iterdir() if not child.is_symlink()]
    except OSError:
        return ()


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except OSError:
        return False
    return True


def _contains_any(path: Path, others: Iterable[Path]) -> bool:
    return any(other.is_relative_to(path) for other in others)


def _resolved(paths: Iterable[Path]) -> list[str]:
    """Return those that this user finds, without those that lie in another one."""
    found = sorted(path for path in {path.resolve() for path in paths} if _exists(path))
    kept: list[Path] = []
    for path in found:
        if not kept or not path.is_relative_to(kept[-1]):
            kept.append(path)
    return [str(path) for path in kept]
