"""Replicas of admin as processes on one database, which tests kill and pause."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.integration.admin.running import PATIENCE_SECONDS, TOKEN, until
from tests.servers import free_port


class Admin:
    """One replica, which restarts on the same port, and a client of it."""

    def __init__(self, directory: Path, nats_url: str, database_url: str) -> None:
        token = directory / "token"
        token.write_text(TOKEN)
        port = free_port()
        own = {
            "TRIMTAB_NATS_URL": nats_url,
            "TRIMTAB_DATABASE_URL": database_url,
            "TRIMTAB_TOKEN_FILE": str(token),
            "TRIMTAB_PORT": str(port),
            "TRIMTAB_LOG_LEVEL": "WARNING",
            # A test that polls with a token that is not known yet is refused more often than 30
            # times, on a fast machine before it is.
            "TRIMTAB_FAILED_TRIES_PER_MINUTE": "100000",
        }
        self._environment = {**os.environ, **own}
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{port}"
        self.client = self.new_client()

    def new_client(self) -> httpx.AsyncClient:
        self.client = httpx.AsyncClient(
            base_url=f"{self.url}/api/v2",
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=PATIENCE_SECONDS,
        )
        return self.client

    def start(self) -> None:
        """Start the process unless it is running."""
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", "trimtab_admin"]
            self._process = subprocess.Popen(command, env=self._environment)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start the process, and kill the one that runs when the block is left."""
        self.start()
        try:
            yield
        finally:
            self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; after SIGKILL, wait until the process has ended."""
        assert self._process is not None
        self._process.send_signal(number)
        if number is signal.SIGKILL:
            self._process.wait(PATIENCE_SECONDS)

    async def ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "admin has ended"
        try:
            return (await self.client.get(f"{self.url}/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def status(self) -> dict[str, Any]:
        return dict((await self.client.get("/status")).json())

    async def leads_relay(self) -> bool:
        return bool((await self.status())["relays"])


async def leader(admins: list[Admin]) -> tuple[Admin, Admin]:
    """Wait until one of two replicas is the leader; return it and the standby."""

    async def one_leader() -> tuple[Admin, Admin] | None:
        match [admin for admin in admins if await admin.leads_relay()]:
            case [leading]:
                [other] = [admin for admin in admins if admin is not leading]
                return leading, other
        return None

    found: tuple[Admin, Admin] = await until(one_leader)
    return found
