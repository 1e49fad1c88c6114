"""The executor ``process`` and its shim, without a propeller."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.integration.propeller.executor_contract import ExecutorContract, attempt, begun
from tests.servers import PATIENCE_SECONDS
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
        os.killpg(group_of(state.location), signal.SIGKILL)


def group_of(location: str) -> int:
    """Return the process group of a started attempt, which is the PID of its shim too."""
    return int(Path(location, "started").read_text().split()[0])


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


@pytest.fixture
def unrelated() -> Iterator["subprocess.Popen[bytes]"]:
    """A process group that belongs to no attempt."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as started:
        yield started
        started.kill()


class Begun:
    """An attempt whose task runs, and which another instance than the one that started it stops."""

    def __init__(self, data: Path, task: str) -> None:
        self._data = data
        self._attempt = attempt(task, directory=str(data))
        self._owner = ProcessExecutor(data)

    async def begin(self) -> Self:
        self.directory = Path(await self._owner.start(self._attempt))
        await begun(self._data)
        self.group = group_of(str(self.directory))
        return self

    async def stop(self) -> Outcome:
        """Stop the attempt. Raises `TimeoutError` where it does not end soon after SIGKILL."""
        async with asyncio.timeout(STOP_GRACE_SECONDS + 1):
            outcome = await ProcessExecutor(self._data).stop(self._attempt)
        assert await self._owner.wait(self._attempt) == outcome
        return outcome

    def kill_shim(self) -> None:
        os.kill(self.group, signal.SIGKILL)
        # Its descriptors are closed by then. The instance that started it has to reap it.
        os.waitid(os.P_PID, self.group, os.WEXITED | os.WNOWAIT)

    def record(self, started: str) -> None:
        """Replace what the shim recorded; no process is in the PID namespace ``pid:[1]``."""
        (self.directory / "started").write_text(started)


@pytest.fixture
async def gated(tmp_path: Path) -> Begun:
    return await Begun(tmp_path, "gated").begin()


@pytest.mark.parametrize("task", ["gated", "stubborn"])
async def test_stop_ends_an_attempt_of_another_pid_namespace_and_no_other_process(
    tmp_path: Path, unrelated: "subprocess.Popen[bytes]", task: str
) -> None:
    running = await Begun(tmp_path, task).begin()
    running.record(f"{unrelated.pid} pid:[1]")
    assert isinstance(await running.stop(), Interrupted)
    assert unrelated.poll() is None


async def test_stop_waits_for_an_attempt_of_another_pid_namespace_whose_shim_was_killed(
    tmp_path: Path,
    gated: Begun,
    unrelated: "subprocess.Popen[bytes]",
    caplog: pytest.LogCaptureFixture,
) -> None:
    gated.kill_shim()
    gated.record(f"{unrelated.pid} pid:[1]")
    with pytest.raises(TimeoutError):
        await gated.stop()
    assert [record.message for record in caplog.records] == ["attempt.unreachable"] * 2
    assert isinstance(read_state(gated.directory), Running)
    assert unrelated.poll() is None
    (tmp_path / "go").touch()
    assert isinstance(await gated.stop(), Interrupted)


async def test_stop_ends_an_attempt_whose_shim_was_killed(gated: Begun) -> None:
    gated.kill_shim()
    assert isinstance(await gated.stop(), Interrupted)


async def test_stop_ends_an_attempt_that_is_suspended(gated: Begun) -> None:
    os.killpg(gated.group, signal.SIGSTOP)
    assert isinstance(await gated.stop(), Interrupted)


async def test_stop_ends_an_attempt_that_an_earlier_release_started(gated: Begun) -> None:
    gated.record(str(gated.group))
    (gated.directory / "control").unlink()
    assert isinstance(await gated.stop(), Interrupted)


async def test_a_stop_before_the_start_is_recorded_ends_the_attempt(tmp_path: Path) -> None:
    executor, wanted = ProcessExecutor(tmp_path), attempt("gated", directory=str(tmp_path))
    location = await executor.start(wanted)
    await begun(tmp_path)
    Path(location, "started").unlink()
    await executor.request_stop_of_all()
    async with asyncio.timeout(STOP_GRACE_SECONDS):
        assert isinstance(await executor.wait(wanted), Interrupted)


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
        each.wait(PATIENCE_SECONDS)
    assert (tmp_path / "ran").read_text() == "once\n"


def test_a_shim_runs_the_attempt_of_a_shim_that_ended_before_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "control")
    [started] = shims(tmp_path, 1)
    started.wait(PATIENCE_SECONDS)
    assert (tmp_path / "ran").read_text() == "once\n"


def test_a_shim_does_not_start_a_task_again(tmp_path: Path) -> None:
    (tmp_path / "started").write_text("1")
    [started] = shims(tmp_path, 1)
    started.wait(PATIENCE_SECONDS)
    assert not (tmp_path / "ran").exists()


def test_a_started_attempt_whose_lock_is_free_is_interrupted(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    assert read_state(tmp_path) == Absent()
    (tmp_path / "started").write_text("1")
    assert isinstance(read_state(tmp_path), Interrupted)
