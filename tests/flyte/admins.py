"""admin as a process with all doors of Flyte's clients, which tests call, kill and start again."""

import os
import sys
from pathlib import Path
from typing import Self

import httpx

from tests.servers import PATIENCE_SECONDS, NatsServer, Server, free_port

TOKEN = "t0ken"
"""The API token of an admin of the platform; every other caller is refused."""


class Admin(Server):
    """admin with SQLite and a NATS of its own. `port` is that of HTTP."""

    probe = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    greeting = b"HTTP/1.1 200"

    def __init__(self, directory: Path, **config: str) -> None:
        """``config`` adds to the configuration or changes it, by the names of its keys."""
        super().__init__(directory)
        self.nats = NatsServer(directory / "nats")
        self.grpc_port = free_port()
        self.token_file = directory / "token"
        own = {
            "nats_url": self.nats.url,
            "database_url": f"sqlite+aiosqlite:///{self.store / 'admin.db'}",
            "token_file": os.fspath(self.token_file),
            "port": str(self.port),
            "grpc_port": str(self.grpc_port),
            # One client address makes all the refused calls of a module.
            "failed_tries_per_minute": "1000000",
        }
        self._environment |= {f"TRIMTAB_{name.upper()}": own[name] for name in own}
        self._environment |= {f"TRIMTAB_{name.upper()}": config[name] for name in config}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def grpc(self) -> str:
        """The endpoint of gRPC, as Flyte's clients have it in their configuration."""
        return f"127.0.0.1:{self.grpc_port}"

    def client(self, token: str = TOKEN) -> httpx.Client:
        """Return a client of HTTP, for the native API and for Flyte's doors."""
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_SECONDS)

    def log(self) -> str:
        return (self.directory / "server.log").read_text()

    def memory_bytes(self) -> int:
        return int(self._processes()[0].memory_info().rss)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "trimtab_admin"]

    def __enter__(self) -> Self:
        self.nats.directory.mkdir(parents=True)
        self.token_file.write_text(TOKEN)
        self.nats.start()
        try:
            return super().__enter__()
        except BaseException:
            self.nats.kill()
            raise

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        self.nats.kill()
