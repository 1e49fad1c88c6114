"""The executor ``process`` and its shim, without a propeller around them."""

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trimtab_propeller import shim
from trimtab_propeller.attempts import Broke, Job, Lost, Outcome, Returned
from trimtab_propeller.process import ProcessExecutor, look

MODULE = """
import os, signal, sys
from trimtab import task
@task
def double(x): return 2 * x
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


def job(task: str, **inputs: Any) -> Job:
    return Job(
        execution="e1",
        node="n0",
        attempt=0,
        task=task,
        inputs=inputs,
        module=MODULE,
        environment={},
    )


async def outcome(executor: ProcessExecutor, wanted: Job) -> Outcome:
    await executor.start(wanted)
    return await executor.wait(wanted)


async def test_what_a_task_returns_is_the_outcome(tmp_path: Path) -> None:
    assert await outcome(ProcessExecutor(tmp_path), job("double", x=21)) == Returned(42)


@pytest.mark.parametrize(
    ("task", "error"),
    [
        ("fails", "ValueError: no rows (module.py, line 7)"),
        ("dies", "the task was ended by signal SIGKILL"),
        ("crashes", "the task was ended by exit code 3\nout of luck"),
        ("vanishes", "the task ended without leaving an output"),
    ],
)
async def test_a_failure_says_how_the_task_ended(tmp_path: Path, task: str, error: str) -> None:
    assert await outcome(ProcessExecutor(tmp_path), job(task)) == Broke(error)


async def test_an_attempt_that_has_ended_is_not_started_again(tmp_path: Path) -> None:
    before = await outcome(ProcessExecutor(tmp_path), job("double", x=1))
    place = Path(await ProcessExecutor(tmp_path).start(job("double", x=100)))
    assert await ProcessExecutor(tmp_path).wait(job("double", x=100)) == before
    assert '"x":1}' in (place / "task.json").read_text()


async def test_what_cannot_be_written_cannot_be_started(tmp_path: Path) -> None:
    (tmp_path / "executions").write_text("in the way")
    with pytest.raises(OSError, match="executions"):
        await ProcessExecutor(tmp_path).start(job("double", x=1))


def shims(directory: Path, count: int) -> list["subprocess.Popen[bytes]"]:
    """Each to append a line."""
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


def test_an_attempt_that_was_begun_is_never_begun_again(tmp_path: Path) -> None:
    (tmp_path / "started").write_text("1")
    [started] = shims(tmp_path, 1)
    started.wait(30)
    assert not (tmp_path / "ran").exists()


def test_a_begun_attempt_whose_lock_is_free_is_lost(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    assert look(tmp_path) == "absent"
    (tmp_path / "started").write_text("1")
    assert isinstance(look(tmp_path), Lost)
