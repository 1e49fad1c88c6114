"""Processes, transports and sockets that tests leave behind are found and ended."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.leftovers import Watched
from tests.servers import PATIENCE_SECONDS, ValkeyServer

SLEEP = ("sleep", "600")
KILLED = """
import os, subprocess, sys
from pathlib import Path
from tests.leftovers import Watched

Watched(Path(sys.argv[1]))
subprocess.Popen(["sh", "-c", "sleep 600 & echo; exec sleep 600"])
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    run = Watched(tmp_path)
    run.begin_module()
    yield run
    run.end()


@contextmanager
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEP) as process:
        try:
            # Popen returns within the exec, a moment before the kernel shows the environment.
            while not Path(f"/proc/{process.pid}/environ").read_bytes():
                time.sleep(0.001)
            yield process
        finally:
            process.kill()


def test_a_process_that_runs_after_its_test_is_killed_and_named(watched: Watched) -> None:
    with sleeping() as process:
        [name] = watched.end_test(0)
        assert process.wait(PATIENCE_SECONDS) in (0, -signal.SIGKILL)
    assert name.startswith("sleep 600, started in tests/integration/test_leftovers.py::test_a_pro")
    assert watched.end_test(0) == []


def test_a_process_that_has_not_been_waited_for_is_found(watched: Watched) -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert watched.end_test(0) == ["a process that was not waited for"]
    process.wait(PATIENCE_SECONDS)


def test_an_orphan_without_the_environment_of_the_test_is_found_by_its_directory(
    watched: Watched, tmp_path: Path
) -> None:
    command = ["/bin/sh", "-c", "sleep 600 >/dev/null 2>&1 &"]
    subprocess.run(command, cwd=tmp_path, env={}, check=True)
    [name] = watched.end_test(0)
    assert name.endswith("started in a process without the mark")


def test_a_server_without_the_mark_may_run_until_the_end_of_its_module(
    watched: Watched, tmp_path: Path
) -> None:
    with ValkeyServer(tmp_path) as server:
        assert watched.end_test(0) == []
        [name] = watched.end_module(0)
        assert f"127.0.0.1:{server.port}" in name


def test_a_process_of_a_fixture_may_run_until_the_end_of_its_scope(watched: Watched) -> None:
    with watched.scope("module"), sleeping():
        assert watched.end_test(0) == []
        assert [name.split(",")[0] for name in watched.end_module(0)] == ["sleep 600"]
    with watched.scope("session"), sleeping():
        assert watched.end_module(0) == []


async def test_a_transport_that_was_not_closed_is_found(watched: Watched) -> None:
    loop, local = asyncio.get_running_loop(), ("127.0.0.1", 0)
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local)
    transport.itself = transport  # type: ignore[attr-defined]  # only a collection deletes it
    del transport
    loop._selector.unregister(max(loop._selector.get_map()))  # type: ignore[attr-defined]
    assert "unclosed transport" in watched.end_test(0)[-1]


def test_a_socket_that_is_open_at_the_end_of_a_module_is_found(watched: Watched) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert watched.end_module(0) == [f"socket at {server.getsockname()}"]
    assert watched.end_module(0) == []


def test_nothing_remains_of_a_run_that_was_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    killed = subprocess.run(command, stdout=subprocess.PIPE, timeout=PATIENCE_SECONDS, check=False)
    assert killed.returncode == -signal.SIGKILL
