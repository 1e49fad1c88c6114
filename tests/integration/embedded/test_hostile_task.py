"""A task that an editor of one project starts does not become root of the system."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.embedded.running import TRIMTAB, Up
from tests.servers import PATIENCE_SECONDS

MODULE = """
import os, signal, socket
from pathlib import Path
from trimtab import task, workflow

@task
def attack(data: str, pids: dict, ports: list) -> dict:
    tried = {}

    def attempt(name, call):
        try:
            tried[name] = repr(call())
        except PermissionError:
            pass

    for file in ("token", "nats.url", "admin.db", "valkey/valkey.conf", "nats/nats.conf"):
        attempt(file, Path(data, file).read_bytes)
    attempt("data", lambda: os.listdir(data))
    attempt("write", lambda: Path(data, "token").write_text("mine"))
    for name, pid in pids.items():
        attempt(f"environment of {name}", Path(f"/proc/{pid}/environ").read_bytes)
        attempt(f"files of {name}", lambda: os.readlink(f"/proc/{pid}/fd/0"))
        attempt(f"memory of {name}", lambda: open(f"/proc/{pid}/mem", "rb"))
        attempt(f"end of {name}", lambda: os.kill(pid, signal.SIGKILL))
    for port in ports:
        attempt(f"port {port}", lambda: socket.create_connection(("127.0.0.1", port)))
    return tried

@task
def greet() -> str:
    return "hello"

@workflow
def harmless():
    return greet()

@workflow
def hostile(data: str, pids: dict, ports: list):
    return attack(data=data, pids=pids, ports=ports)
"""


def run(up: Up, *arguments: str, token: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"TRIMTAB_TOKEN": token} if token else {})}
    return subprocess.run(
        [TRIMTAB, *arguments, "--data", str(up.data)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=environment,
    )


def trimtab(up: Up, *arguments: str, token: str = "") -> str:
    done = run(up, *arguments, token=token)
    assert done.returncode == 0, done.stderr
    return done.stdout


def listening(pid: int) -> list[int]:
    """Return the TCP ports that a process listens on."""
    found = subprocess.check_output(["cat", f"/proc/{pid}/net/tcp"], text=True).splitlines()[1:]
    inodes = {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()}
    rows = [line.split() for line in found]
    return [int(r[1][-4:], 16) for r in rows if r[3] == "0A" and f"socket:[{r[9]}]" in inodes]


@pytest.fixture
def editor(tmp_path: Path) -> Path:
    file = tmp_path / "hostile.py"
    file.write_text(MODULE)
    return file


def test_a_task_of_an_editor_reaches_nothing_of_the_system(tmp_path: Path, editor: Path) -> None:
    with Up(tmp_path / "data").ready() as up:
        assert up.wait_for_line("  isolation  of tasks by Landlock ABI").endswith(" sockets")
        trimtab(up, "register", "project", "shop")
        scope = ("-p", "shop", "-d", "development")
        trimtab(up, "register", "files", str(editor), *scope)
        token = trimtab(up, "token", "create", "ci", "--grant", "editor,project=shop").strip()
        pids = up.running()
        ports = [
            port for name in ("nats-server", "valkey-server") for port in listening(pids[name])
        ]
        assert len(ports) == 2
        given = {"data": str(up.data), "pids": json.dumps(pids), "ports": json.dumps(ports)}
        inputs = [f"--input={name}={text}" for name, text in given.items()]
        ended = json.loads(
            trimtab(up, "execute", "hostile", *scope, *inputs, "-o", "json", token=token)
        )
        assert (ended["phase"], ended["output"]) == ("succeeded", {})
        assert up.running() == pids
        explained = trimtab(up, "explain", "execution", ended["id"], token=token)
        assert "isolation of tasks by Landlock ABI" in explained


def test_only_an_admin_executes_where_no_kernel_confines_tasks(
    tmp_path: Path, editor: Path
) -> None:
    program = (sys.executable, str(Path(__file__).with_name("without_landlock.py")), TRIMTAB)
    with Up(tmp_path / "data", program=program).ready() as up:
        line = up.wait_for_line("  isolation  of tasks by")
        assert line.endswith("by a kernel without Landlock: nothing; only admins execute")
        trimtab(up, "register", "project", "shop")
        scope = ("-p", "shop", "-d", "development")
        trimtab(up, "register", "files", str(editor), *scope)
        token = trimtab(up, "token", "create", "ci", "--grant", "admin,project=shop").strip()
        execute = ("execute", "harmless", *scope, "-o", "json")
        reason = (
            "only an admin of the platform may execute here, because the process executor cannot "
            "isolate tasks: a kernel without Landlock does not restrict files, TCP, signals, "
            "abstract sockets; Landlock ABI 6 on x86-64 or ARM64 is needed"
        )
        refused = run(up, *execute, token=token)
        assert refused.returncode == 1
        assert reason in refused.stderr
        assert json.loads(trimtab(up, *execute))["output"] == "hello"
