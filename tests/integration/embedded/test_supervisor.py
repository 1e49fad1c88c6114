"""The supervisor, in a process of its own because it ends all of its child processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import PATIENCE_SECONDS, free_port

SCRIPT = Path(__file__).with_name("supervised.py")


@contextmanager
def supervised(directory: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(directory), str(free_port())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()  # it ends the program and the tasks that were left
        process.communicate(timeout=PATIENCE_SECONDS)


def next_line(process: subprocess.Popen[str], words: str) -> str:
    """Wait for the next line with these words and return it."""
    assert process.stdout is not None
    return next(line for line in process.stdout if words in line)


def pid(directory: Path, name: str = "pid") -> int:
    return int((directory / name).read_text())


def runs(process: int) -> bool:
    """Return whether a process runs; one that has ended and is not reaped does not."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_program_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        next_line(process, "up")
        first = pid(tmp_path)
        os.kill(first, signal.SIGKILL)
        assert "was killed by SIGKILL; starting it again" in next_line(process, "server")
        eventually(lambda: pid(tmp_path) != first and runs(pid(tmp_path)))


def test_a_program_that_is_never_ready_ends_the_start_with_its_last_error(
    tmp_path: Path,
) -> None:
    (tmp_path / "broken").touch()
    with supervised(tmp_path) as process:
        _out, err = process.communicate(timeout=PATIENCE_SECONDS)
        log = tmp_path / "server.log"
        assert err == f"server ended with code 1: the server cannot work today (its log is {log})\n"
        assert process.returncode == 1


def test_a_stop_ends_the_program_and_the_tasks_that_it_left(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        next_line(process, "up")
        server, task = pid(tmp_path), pid(tmp_path, "task-pid")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert not runs(server)
        assert not runs(task)


def test_a_task_outlives_the_program_that_started_it(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        next_line(process, "up")
        task = pid(tmp_path, "task-pid")
        os.kill(pid(tmp_path), signal.SIGKILL)
        eventually(lambda: pid(tmp_path, "task-pid") != task)
        assert runs(task)
        os.kill(task, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{task}").exists())


def test_programs_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        next_line(process, "up")
        server = pid(tmp_path)
        process.kill()
        eventually(lambda: not runs(server))
        os.kill(pid(tmp_path, "task-pid"), signal.SIGKILL)  # tasks go on
