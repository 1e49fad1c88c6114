"""admin and resmgr as processes on real servers, and a target that checks fences."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from click.testing import CliRunner, Result

from tests.processes import ended
from tests.servers import PATIENCE_SECONDS, NatsServer, ValkeyServer, free_port
from trimtab.api.entities import PoolBody
from trimtab.cli.main import cli
from trimtab.client import Client
from trimtab.errors import NotFound

TOKEN = "t0ken"


class Installation:
    """NATS, Valkey, admin and resmgr. Tests share it, and therefore use pools of their own."""

    def __init__(self, directory: Path) -> None:
        self.nats = NatsServer(directory / "nats")
        self.valkey = ValkeyServer(directory / "valkey")
        self.directory = directory
        self._ports = {"admin": free_port(), "resmgr": free_port()}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """The URL of admin."""
        return f"http://127.0.0.1:{self._ports['admin']}"

    def client(self) -> Client:
        return Client(self.url, TOKEN)

    def trimtab(self, *arguments: str) -> Result:
        """Run the command line."""
        runner = CliRunner(env={"TRIMTAB_SERVER": self.url, "TRIMTAB_TOKEN": TOKEN})
        return runner.invoke(cli, arguments, prog_name="trimtab")

    async def define_pool(self, pool: PoolBody) -> None:
        """Put a pool, and wait until resmgr has its limits, which it gets after the response."""
        async with self.client() as client, asyncio.timeout(PATIENCE_SECONDS):
            await client.pools.put(pool, force=True)
            while await self._quota_of(client, pool.name) != pool.quota:
                await asyncio.sleep(0.02)

    async def _quota_of(self, client: Client, pool: str) -> int | None:
        with suppress(NotFound):
            return (await client.pools.usage(pool)).quota
        return None

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Suspend a service while the block runs."""
        self._processes[name].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._processes[name].send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        token = self.directory / "token"
        token.write_text(TOKEN)
        with ExitStack() as stack:
            stack.enter_context(self.nats)
            stack.enter_context(self.valkey)
            self._start_services(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def _start_services(self, stack: ExitStack) -> None:
        redis = {"hostPaths": [f"127.0.0.1:{self.valkey.port}"]}
        # With this long pace, only a hint can be the cause of an early request of a waiter.
        times = {"graceSeconds": 0.2, "placeSeconds": 3600, "maxLeaseSeconds": 3600}
        block = {"type": "redis", **times, "redis": redis}
        database = f"sqlite+aiosqlite:///{self.directory}/admin.db"
        stack.enter_context(self._running("admin", DATABASE_URL=database))
        block_text = json.dumps(block)
        stack.enter_context(self._running("resmgr", RESOURCEMANAGER=block_text, ADMIN_URL=self.url))
        for name in self._processes:
            self._await(name)

    @contextmanager
    def _running(self, name: str, **own: str) -> Iterator[None]:
        environment = {key: value for key, value in os.environ.items() if key[:7] != "TRIMTAB"}
        variables = {
            "NATS_URL": self.nats.url,
            "PORT": str(self._ports[name]),
            "TOKEN_FILE": str(self.directory / "token"),
            **own,
        }
        environment |= {f"TRIMTAB_{key}": value for key, value in variables.items()}
        with (self.directory / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", f"trimtab_{name}"]
            process = subprocess.Popen(command, env=environment, stderr=log)
        with ended(process) as self._processes[name]:
            yield

    def _await(self, name: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        address = f"http://127.0.0.1:{self._ports[name]}/readyz"
        while True:
            try:
                with urllib.request.urlopen(address, timeout=PATIENCE_SECONDS):
                    return
            except OSError:
                log = (self.directory / f"{name}.log").read_text()[-4000:]
                assert time.monotonic() < deadline, f"{name} is not ready:\n{log}"
                time.sleep(0.1)


@contextmanager
def fenced_target() -> Iterator[str]:
    """Yield the URL of a target that stores the highest fence and refuses lower ones with 409."""

    class Handler(BaseHTTPRequestHandler):
        highest = 0

        def do_PUT(self) -> None:
            fence = int(self.headers["Fence"])
            Handler.highest = max(Handler.highest, fence)
            self.send_response(200 if fence == Handler.highest else 409)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Keep the log out of the output of the tests."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
