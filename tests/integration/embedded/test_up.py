"""`trimtab up` from start to stop."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.embedded.running import SECONDS, TRIMTAB, Up, eventually, left_over
from tests.servers import NatsServer, free_port
from trimtab import pools as trimtab_pools
from trimtab.embedded import programs
from trimtab.embedded.directory import Directory

CROWDED = Path(__file__).with_name("crowded.py")
PROGRAMS = {"nats-server", "valkey-server", "admin", "clusterres", "propeller", "resmgr"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running system for tests that do not stop it."""
    with Up(tmp_path_factory.mktemp("shared") / "data").ready() as up:
        yield up


def trimtab(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TRIMTAB, *arguments, "--data", str(data)], capture_output=True, text=True, timeout=SECONDS
    )


def test_a_stop_ends_all_programs_and_a_second_start_uses_the_same_data(tmp_path: Path) -> None:
    with Up(tmp_path / "data").ready() as up:
        assert up.running().keys() == PROGRAMS
        assert trimtab(up.data, "register", "project", "shop").returncode == 0
        token = (up.data / "token").read_text()
        assert up.stop() == 0
    assert left_over(up.data) == []
    assert trimtab(up.data, "get", "projects").returncode == 7
    with Up(up.data).ready():
        assert "shop" in trimtab(up.data, "get", "projects").stdout
        assert (up.data / "token").read_text() == token


@pytest.mark.parametrize("start", ["first", "second"])
def test_the_commands_that_it_prints_work_elsewhere(tmp_path: Path, start: str) -> None:
    data = tmp_path / "data of a user"
    if start == "second":
        data.mkdir(mode=0o700)
        (data / "admin.db").touch()
    expected = {"first": "effective -p shop", "second": "get executions"}[start]
    with Up(data).ready() as up:
        up.wait_for_line(expected)
        commands = [line for line in up.lines if line.endswith(f"--data '{data}'")]
        assert len(commands) == 4
        for command in commands:
            assert run_in_shell(command).returncode == 0


def run_in_shell(command: str) -> subprocess.CompletedProcess[bytes]:
    path = f"{Path(TRIMTAB).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", command],
        cwd="/",
        env={**os.environ, "PATH": path},
        timeout=SECONDS,
        text=True,
    )


def test_after_a_kill_no_process_is_left_and_the_next_start_works(tmp_path: Path) -> None:
    with Up(tmp_path / "data").ready() as up:
        up.process.kill()
        up.process.wait()
        eventually(lambda: left_over(up.data) == [])
    with Up(up.data).ready() as again:
        assert again.running().keys() == PROGRAMS


def test_a_second_start_on_the_same_directory_is_rejected(shared: Up) -> None:
    done = trimtab(shared.data, "up")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == (
        f"Error: another `trimtab up` (process {shared.process.pid}) runs on the data directory "
        f"{shared.data}; stop it first, or name another directory with --data\n"
    )
    assert trimtab(shared.data, "get", "projects").returncode == 0


async def test_other_programs_can_hold_tokens_of_the_pools(shared: Up) -> None:
    assert trimtab(shared.data, "update", "pool", "gpu", "--quota", "2").returncode == 0
    eventually(lambda: trimtab(shared.data, "describe", "pool", "gpu").returncode == 0)
    async with (
        trimtab_pools((shared.data / "nats.url").read_text().strip()) as pools,
        pools.token("gpu", project="shop", domain="staging") as lease,
    ):
        assert lease.held
        assert "1 of 2 held" in trimtab(shared.data, "describe", "pool", "gpu").stdout
        [listed] = json.loads(trimtab(shared.data, "get", "pools", "gpu", "-o", "json").stdout)
        assert (listed["usage"]["held"], listed["usage"]["holding"]) == (1, 1)


def test_what_nats_acknowledges_survives_the_loss_of_power(shared: Up) -> None:
    directory = Directory(shared.data)
    headers = {"Authorization": f"Bearer {directory.api_token()}"}
    status = httpx.get(f"{directory.url()}/api/v2/status", headers=headers, timeout=SECONDS).json()
    assert status["nats_sync"] == "always"


def test_a_service_that_is_killed_is_started_again(shared: Up) -> None:
    first = shared.running()["propeller"]
    os.kill(first, signal.SIGKILL)
    line = shared.wait_for_line("propeller was killed by SIGKILL; starting it again in")
    assert line.endswith((" in 0.1 s", " in 0.2 s"))
    eventually(lambda: shared.running().get("propeller", first) != first)


def test_a_server_that_is_killed_comes_back_with_its_data(shared: Up) -> None:
    assert trimtab(shared.data, "register", "project", "shop").returncode == 0
    os.kill(shared.running()["nats-server"], signal.SIGKILL)
    shared.wait_for_line("nats-server was killed by SIGKILL; starting it again")
    manifests = shared.data / "clusters" / "embedded"
    assert trimtab(shared.data, "register", "project", "later").returncode == 0
    eventually((manifests / "later-staging" / "Namespace-later-staging.yaml").exists)


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        ("file/data", 1, "the data directory {}/file/data cannot be written: Not a directory"),
        ("file", 1, "the data directory {}/file cannot be written: File exists"),
    ],
)
def test_a_directory_that_cannot_be_written_is_named(
    tmp_path: Path, data: str, code: int, message: str
) -> None:
    (tmp_path / "file").touch()
    done = trimtab(tmp_path / data, "up")
    assert done.returncode == code
    assert done.stderr.startswith(
        f"Error: {message.format(tmp_path)}; name another one with --data"
    )
    assert done.stderr.count("\n") == 1


def test_an_invalid_settings_file_ends_the_start_with_the_error_of_the_service(
    tmp_path: Path,
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("domains: [Not A Name]\n")
    done = trimtab(tmp_path / "data", "up", "--settings", str(settings))
    assert done.returncode == 1
    assert "Error: admin ended with code 1: configuration domains.0: 'Not A Name'" in done.stderr
    assert left_over(tmp_path) == []


def test_a_taken_port_is_rejected_before_any_program_starts(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        done = trimtab(tmp_path / "data", "up", "--port", str(port))
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith(f"Error: port {port} of 127.0.0.1 is taken; give a free one")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("index", [1, 2, 5], ids=["nats-server", "valkey-server", "resmgr"])
def test_a_port_that_is_taken_during_the_start_is_replaced(
    tmp_path: Path, nats_server: NatsServer, index: int
) -> None:
    crowded = (sys.executable, str(CROWDED), str(nats_server.port), str(index))
    with Up(tmp_path / "data", program=crowded).ready() as up:
        up.wait_for_line(f"port {nats_server.port} was taken by another program; starting again")
        assert up.running().keys() == PROGRAMS
        assert trimtab(up.data, "get", "projects").returncode == 0
    assert left_over(up.data) == []


def test_a_stop_during_the_start_ends_the_programs_that_have_started(tmp_path: Path) -> None:
    up = Up(tmp_path / "data")
    with up.begun():
        up.wait_for_line("nats-server is ready")
        assert up.stop() == 0
    assert left_over(up.data) == []


def test_ports_are_drawn_once_and_not_from_those_of_outgoing_connections() -> None:
    drawn = list(programs.free_ports())
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert len(set(drawn)) == len(drawn) > 1_000
    assert max(drawn) < max(first_outgoing, 20_000)
