"""Replicas of resmgr as processes that can be started and stopped."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.resmgr.running import eventually
from tests.servers import PATIENCE_SECONDS, NatsServer, free_port


@dataclass
class Replicas:
    """Running replicas, the oldest first."""

    nats_url: str
    manager: Mapping[str, Any]
    """The ``resourcemanager`` block."""
    log: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    async def start(self) -> None:
        """Start a replica, and return when it is ready."""
        port = free_port()
        inherited = {key: value for key, value in os.environ.items() if key[:7] != "TRIMTAB"}
        variables = {
            "TRIMTAB_NATS_URL": self.nats_url,
            "TRIMTAB_PORT": str(port),
            "TRIMTAB_LOG_LEVEL": "ERROR",
            "TRIMTAB_RESOURCEMANAGER": json.dumps(self.manager),
        }
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "trimtab_resmgr"]
            process = subprocess.Popen(command, env={**inherited, **variables}, stderr=log)
        self.running.append(process)
        await eventually(lambda: is_ready(port))

    async def stop(self, how: signal.Signals) -> int:
        """Stop the oldest replica with a signal, and return its exit code."""
        oldest = self.running.pop(0)
        oldest.send_signal(how)
        return await asyncio.to_thread(oldest.wait)


@asynccontextmanager
async def replicas(
    nats_server: NatsServer, manager: Mapping[str, Any], log: Path, number: int
) -> AsyncIterator[Replicas]:
    """Yield so many ready replicas, and kill those that still run at the end."""
    found = Replicas(nats_server.url, manager, log)
    try:
        await asyncio.gather(*(found.start() for _ in range(number)))
        yield found
    finally:
        while found.running:
            await found.stop(signal.SIGKILL)


async def is_ready(port: int) -> bool:
    """Return whether the replica at this port is ready."""

    def check() -> bool:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE_SECONDS
            ):
                return True
        except OSError:
            return False

    return await asyncio.to_thread(check)
