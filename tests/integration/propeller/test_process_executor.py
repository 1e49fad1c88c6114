"""The executor ``process`` and its shim, without a propeller."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.propeller.executor_contract import ExecutorContract, attempt
from trimtab_propeller.executors import shim
from trimtab_propeller.executors.port import (
    Absent,
    Attempt,
    AttemptRejected,
    Executor,
    ExecutorUnavailable,
    Failed,
    Interrupted,
    Outcome,
    Running,
)
from trimtab_propeller.executors.process import STOP_GRACE_SECONDS, ProcessExecutor, read_state

ENDINGS = """
import os, signal, sys
from trimtab import task
@task
def fails(): raise ValueError("no rows")
@task
def dies(): os.kill(os.getpid(), signal.SIGKILL)
@task
def crashes():
    print("out of luck", file=sys.stderr, flush=True)
    os._exit(3)
@task
def vanishes(): os._exit(0)
"""


class TestProcessExecutor(ExecutorContract):
    """It keeps the contract."""

    stop_grace_seconds = STOP_GRACE_SECONDS

    def make_executor(self, data: Path) -> Executor:
        return ProcessExecutor(data)

    def break_data(self, data: Path) -> None:
        data.mkdir()
        (data / "executions").write_text("a file instead of a directory")

    async def kill(self, executor: Executor, running: Attempt) -> None:
        state = await executor.find(running)
        assert isinstance(state, Running)
        os.killpg(int(Path(state.location, "started").read_text()), signal.SIGKILL)


async def outcome(executor: ProcessExecutor, wanted: Attempt) -> Outcome:
    await executor.start(wanted)
    return await executor.wait(wanted)


@pytest.mark.parametrize(
    ("task", "error"),
    [
        ("fails", "ValueError: no rows (module.py, line 5)"),
        ("dies", "the task was ended by signal SIGKILL"),
        ("crashes", "the task was ended by exit code 3\nout of luck"),
        ("vanishes", "the task ended without leaving an output"),
    ],
)
async def test_a_failure_names_how_the_task_ended(tmp_path: Path, task: str, error: str) -> None:
    wanted = attempt(task).model_copy(update={"module": ENDINGS})
    assert await outcome(ProcessExecutor(tmp_path), wanted) == Failed(error)


async def test_a_second_start_does_not_change_the_files_of_an_attempt(tmp_path: Path) -> None:
    await outcome(ProcessExecutor(tmp_path), attempt("double", x=1))
    location = Path(await ProcessExecutor(tmp_path).start(attempt("double", x=100)))
    assert '"x":1}' in (location / "task.json").read_text()


async def test_an_error_names_the_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "executions").write_text("a file instead of a directory")
    with pytest.raises(ExecutorUnavailable, match="executions"):
        await ProcessExecutor(tmp_path).start(attempt("double", x=1))


async def test_a_variable_that_is_too_long_for_a_process_is_rejected(tmp_path: Path) -> None:
    # Linux: at most 128 KiB for one string (MAX_ARG_STRLEN).
    wanted = attempt("double", environment={"LONG": "x" * 200_000}, x=1)
    with pytest.raises(AttemptRejected, match="Argument list too long"):
        await ProcessExecutor(tmp_path).start(wanted)
    assert await ProcessExecutor(tmp_path).find(wanted) == Absent()


async def test_a_state_that_cannot_be_read_is_unavailable(tmp_path: Path) -> None:
    directory = tmp_path / "executions" / "e1" / "n0" / "0"
    directory.parent.mkdir(parents=True)
    directory.symlink_to(directory)  # a loop, which root cannot open either
    executor, wanted = ProcessExecutor(tmp_path), attempt("double", x=1)
    for call in (executor.find, executor.wait, executor.stop):
        with pytest.raises(ExecutorUnavailable):
            await call(wanted)


def shims(directory: Path, count: int) -> list["subprocess.Popen[bytes]"]:
    """Start shims, each of which would append a line to the file ``ran``."""
    append = "open('ran', 'a').write('once\\n')"
    command = [sys.executable, "-I", "-S", shim.__file__, sys.executable, "-c", append]
    return [subprocess.Popen(command, cwd=directory) for _ in range(count)]


def test_of_many_shims_one_runs_the_attempt_once_the_lock_is_free(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        started = shims(tmp_path, 4)
        with pytest.raises(subprocess.TimeoutExpired):
            started[0].wait(0.5)
    for each in started:
        each.wait(30)
    assert (tmp_path / "ran").read_text() == "once\n"


def test_a_shim_does_not_start_a_task_again(tmp_path: Path) -> None:
    (tmp_path / "started").write_text("1")
    [started] = shims(tmp_path, 1)
    started.wait(30)
    assert not (tmp_path / "ran").exists()


def test_a_started_attempt_whose_lock_is_free_is_interrupted(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    assert read_state(tmp_path) == Absent()
    (tmp_path / "started").write_text("1")
    assert isinstance(read_state(tmp_path), Interrupted)
