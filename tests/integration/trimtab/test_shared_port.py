"""A port that several processes share: a service receives no connection before it serves."""

import socket
import subprocess
import sys
import time
from contextlib import ExitStack

from tests.servers import PATIENCE_SECONDS, free_port
from trimtab.runtime import service

SERVICE = """
import asyncio, sys
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from trimtab.runtime import service
from trimtab.runtime.config import ServiceConfig

@asynccontextmanager
async def lifespan(_app):
    print("starting", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    yield

config = ServiceConfig(port=int(sys.argv[1]), log_level="ERROR")
service.run("test", config, Starlette(lifespan=lifespan), reuse_port=True)
"""


def status(address: tuple[str, int]) -> bytes:
    """Return how the response of a service begins, once it listens."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with socket.create_connection(address, PATIENCE_SECONDS) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                return client.recv(12)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_service_that_starts_receives_no_connection_to_a_shared_port() -> None:
    with (
        service.bind("127.0.0.1", free_port(), reuse_port=True) as listener,
        subprocess.Popen(
            [sys.executable, "-c", SERVICE, str(listener.getsockname()[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process,
        ExitStack() as stack,
    ):
        stack.callback(process.kill)
        address = listener.getsockname()
        listener.listen()
        listener.settimeout(PATIENCE_SECONDS)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"starting\n"
        for _ in range(20):
            with socket.create_connection(address) as client:
                accepted, caller = listener.accept()
                accepted.close()
                assert caller == client.getsockname()
        listener.close()
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert status(address) == b"HTTP/1.1 404"
