"""The executor ``process``, its fork server, shims and guards, without a propeller."""

import asyncio
import errno
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.integration.propeller.executor_contract import ExecutorContract, attempt, begun
from tests.integration.propeller.harness import data_next_to
from tests.processes import ended
from tests.servers import PATIENCE_SECONDS
from trimtab.kinds.workflow_execution_config import Secret
from trimtab_propeller.executors import fork_server, linux
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.confinement import Confinement
from trimtab_propeller.executors.fork_client import ForkServer, NotStarted
from trimtab_propeller.executors.port import (
    Absent,
    AttemptRejected,
    Executor,
    ExecutorUnavailable,
    Failed,
    HostUnavailable,
    Interrupted,
    Outcome,
    Returned,
    Running,
    Stopped,
)
from trimtab_propeller.executors.process import STOP_GRACE_SECONDS, ProcessExecutor
from trimtab_propeller.executors.records import read_state

EARLIER_SHIM = Path(__file__).parent / "earlier_release" / "shim.py"
ROOT = Path(__file__).parents[3]
HEADER = """
import json, os, random, shutil, signal, socket, subprocess, sys, threading, time
from pathlib import Path
from trimtab import task
"""

GRACE_SECONDS = STOP_GRACE_SECONDS * PATIENCE_SECONDS / 60
"""Long enough for a task that ends on SIGTERM, however busy the machine is."""

Make = Callable[[], ProcessExecutor]


def writing_to(directory: str | Path) -> Confinement:
    """Confine tasks as this kernel can, but let them write to a directory."""
    return replace(Confinement.of_this_kernel(), writable=(str(directory),))


def of(source: str, number: int = 0, **fields: Any) -> Attempt:
    """An attempt of the task ``t``, which has this body."""
    body = "\n    ".join(source.strip().splitlines())
    module = f"{HEADER}\n@task\ndef t():\n    {body}\n"
    return attempt("t", number).model_copy(update={"module": module, **fields})


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make executors over one data directory."""
    made: list[ProcessExecutor] = []

    def make_executor() -> ProcessExecutor:
        data = data_next_to(tmp_path)
        made.append(ProcessExecutor(data, GRACE_SECONDS, confinement=writing_to(tmp_path)))
        return made[-1]

    yield make_executor
    for executor in made:
        executor.close()


@pytest.fixture
def executor(make: Make) -> ProcessExecutor:
    return make()


@pytest.fixture
def unconfined(tmp_path: Path) -> Iterator[ProcessExecutor]:
    """An executor on a kernel without Landlock, whose tasks can change the files of their shims."""
    executor = ProcessExecutor(data_next_to(tmp_path), GRACE_SECONDS, confinement=Confinement())
    yield executor
    executor.close()


class TestProcessExecutor(ExecutorContract):
    """It keeps the contract."""

    stop_grace_seconds = GRACE_SECONDS

    @pytest.fixture(autouse=True)
    def closing(self) -> Iterator[None]:
        self.made: list[ProcessExecutor] = []
        yield
        for executor in self.made:
            executor.close()

    def make_executor(self, data: Path, shared: Path) -> Executor:
        self.made.append(ProcessExecutor(data, GRACE_SECONDS, confinement=writing_to(shared)))
        return self.made[-1]

    def break_data(self, data: Path) -> None:
        data.mkdir(exist_ok=True)
        (data / "executions").write_text("a file instead of a directory")

    async def kill(self, executor: Executor, running: Attempt) -> None:
        state = await executor.find(running)
        assert isinstance(state, Running)
        shim = shim_of(state.location)
        for pid in (shim, *linux.descendants(shim)):
            with suppress(ProcessLookupError):  # the death of one may end another
                os.kill(pid, signal.SIGKILL)


def shim_of(location: str | Path) -> int:
    """Return the PID of the shim of a started attempt."""
    return int(Path(location, "started").read_text().split()[0])


def is_alive(pid: int) -> bool:
    """Return whether a process runs. One that has ended but is not reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def outcome(executor: ProcessExecutor, wanted: Attempt) -> Outcome:
    await executor.start(wanted)
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await executor.wait(wanted)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("raise ValueError('no rows')", "ValueError: no rows (module.py, line 8)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "the task was ended by signal SIGKILL"),
        (
            "print('out of luck', file=sys.stderr, flush=True); os._exit(3)",
            "the task was ended by exit code 3\nout of luck",
        ),
        ("os._exit(0)", "the task ended without leaving an output"),
    ],
)
async def test_a_failure_names_how_the_task_ended(
    executor: ProcessExecutor, body: str, error: str
) -> None:
    assert await outcome(executor, of(body)) == Failed(error)


HOSTILE = {
    "empties its directory": "shutil.rmtree(os.getcwd())\nreturn 1",
    "replaces its directory": """
own = os.getcwd()
shutil.rmtree(own)
os.symlink(own, own)
return 1
""",
    "makes fifos of its files": """
for name in ("module.py", "task.json", "exit.json", "output.json", "stderr"):
    Path(name).unlink(missing_ok=True)
    os.mkfifo(name)
return 1
""",
    "forges an end": """
Path("../exit.json").write_text('{"code": 0}')
Path("../output.json").write_text('{"output": "forged"}')
return 1
""",
    "makes the captured output a fifo": """
os.unlink("../stderr")
os.mkfifo("../stderr")
return 1
""",
    "removes its control files": """
for name in ("started", "control", "stdout", "stderr"):
    os.unlink(f"../{name}")
return 1
""",
    "has a process that returns too": "os.fork()\nreturn 1",
    "leaves a process that holds all files": """
if os.fork() == 0:
    time.sleep(3600)
return 1
""",
    "fails at its exit": """
import atexit
atexit.register(os._exit, 7)
return 1
""",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
async def test_a_task_that_returns_has_returned_whatever_it_does_to_files(
    unconfined: ProcessExecutor, make: Make, body: str
) -> None:
    assert await outcome(unconfined, of(body)) == Returned(1)
    assert await make().find(of(body)) == Returned(1)


BROKEN = {
    "an end that is a directory": ("os.mkdir('../exit.json')\nreturn 1", "exit.json"),
    "no directory": ("shutil.rmtree('..', ignore_errors=True)\nreturn 1", "was removed"),
    "a fifo in place of its errors": (
        "os.unlink('../stderr'); os.mkfifo('../stderr'); os._exit(3)",
        "exit code 3",
    ),
    "an output that is too long": ("os.write(3, b'o' + 2**20 * b'1' + bytes(1))", "262144 bytes"),
    "an output that is no JSON": ("os.write(3, b'o{' + bytes(1)); os._exit(0)", "JSON"),
    "an output that JSON does not allow": (
        "os.write(3, b'o{\"output\": NaN}' + bytes(1)); os._exit(0)",
        "JSON",
    ),
    "a deep output": (
        "os.write(3, b'o{\"output\": ' + 100000 * b'[' + 100000 * b']' + b'}' + bytes(1))",
        "JSON",
    ),
    "an unknown kind of result": ("os.write(3, b'x1' + bytes(1)); os._exit(0)", ""),
    "half an output": ("os.write(3, b'o1'); os._exit(0)", "without leaving an output"),
    "a long error": ("raise ValueError(10**6 * 'x')", "ValueError: xxx"),
    "bytes that are no text": ("os.write(2, bytes(range(128, 256))); os._exit(3)", "exit code 3"),
}


@pytest.mark.parametrize(("body", "error"), BROKEN.values(), ids=BROKEN)
async def test_a_task_that_breaks_what_it_leaves_has_failed(
    unconfined: ProcessExecutor, body: str, error: str
) -> None:
    failed = await outcome(unconfined, of(body))
    assert isinstance(failed, Failed)
    assert error in failed.error
    assert len(failed.error) <= 5000


@pytest.mark.parametrize(
    "body",
    [
        "while True: print(1000 * 'x')",
        "while True: os.write(3, 1000 * b'x')",
        "os.kill(os.getpid(), signal.SIGSTOP)",
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(0)); time.sleep(3600)",
        "def end(*_): raise KeyError\nsignal.signal(signal.SIGTERM, end); time.sleep(3600)",
        "os.fork() or os.setsid(); time.sleep(3600)",
        "ended = threading.Event()\nsignal.signal(signal.SIGTERM, lambda *_: ended.set())\n"
        "while not ended.wait(0.01): pass\nreturn 'too late'",
    ],
)
async def test_no_task_can_run_on_after_its_timeout(executor: ProcessExecutor, body: str) -> None:
    timed = of(body, timeout_seconds=0.4)
    assert await outcome(executor, timed) == Failed("timed out after 0.4 s")
    assert not is_alive(shim_of(executor.directory(timed)))


async def test_a_task_that_has_returned_counts_although_its_exit_takes_too_long(
    executor: ProcessExecutor,
) -> None:
    body = "import atexit; atexit.register(time.sleep, 3600)\nreturn 1"
    lingers = of(body, timeout_seconds=PATIENCE_SECONDS / 20)
    assert await outcome(executor, lingers) == Returned(1)


async def test_an_executor_that_can_start_no_process_is_unavailable(
    executor: ProcessExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", fail)
    with pytest.raises(ExecutorUnavailable):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await executor.start(of("return 1"))
    with pytest.raises(ExecutorUnavailable, match="Resource temporarily unavailable"):
        await executor.check()


async def test_a_host_without_room_for_another_process_is_to_blame_and_not_the_attempt(
    executor: ProcessExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await executor.check()

    async def report(_server: ForkServer, _report: socket.socket) -> None:
        raise NotStarted(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(ForkServer, "_wait_for_report", report)
    with pytest.raises(HostUnavailable):
        await executor.start(of("return 1"))
    with pytest.raises(ExecutorUnavailable, match="no process can be started"):
        await executor.check()


async def test_an_executor_whose_process_can_start_no_thread_is_unavailable(
    executor: ProcessExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", start)
        with pytest.raises(HostUnavailable, match="can't start new thread"):
            await executor.wait(of("return 1"))
        with pytest.raises(HostUnavailable, match="can't start new thread"):
            await executor.check()
    await executor.check()


async def test_an_attempt_whose_shim_fails_after_its_report_is_interrupted(
    executor: ProcessExecutor,
) -> None:
    """Both reports of a shim may be read at once."""
    wanted = [of("return 1", number) for number in range(30)]
    for each in wanted:
        (executor.directory(each) / "stdout").mkdir(parents=True)
    found = await asyncio.gather(*(outcome(executor, each) for each in wanted))
    assert found == [Interrupted("the attempt's processes were ended from outside")] * 30


async def test_the_fork_server_goes_on_when_the_caller_of_a_check_has_gone() -> None:
    server = ForkServer({}, Confinement())
    try:
        await server.check()
        ours, theirs = socket.socketpair()
        ours.close()
        with theirs:
            assert server._send(fork_server.CHECK, [theirs.fileno()])
        await server.check()
    finally:
        server.close()


async def test_a_task_that_removes_its_directory_and_goes_on_has_not_ended(
    unconfined: ProcessExecutor, tmp_path: Path
) -> None:
    executor = unconfined
    body = f"""
shutil.rmtree('..', ignore_errors=True)
while not os.path.exists({str(tmp_path / "go")!r}):
    time.sleep(0.01)
return 1
"""
    directory = Path(await executor.start(of(body)))
    while (directory / "lock").exists():
        await asyncio.sleep(0.01)
    waiting = asyncio.create_task(executor.wait(of(body)))
    await asyncio.wait((waiting,), timeout=0.5)
    assert not waiting.done()
    (tmp_path / "go").touch()
    assert isinstance(await waiting, Failed)


@pytest.mark.parametrize("at_sigterm", ["raise SystemExit", "pass"], ids=["polite", "stubborn"])
@pytest.mark.parametrize(
    "damage",
    ["shutil.rmtree('..', ignore_errors=True)", "os.remove('../lock'); os.mkdir('../lock')"],
    ids=["removed", "lock replaced"],
)
@pytest.mark.parametrize("is_for_all", [False, True])
async def test_stop_ends_a_task_that_has_removed_the_files_of_its_attempt(
    unconfined: ProcessExecutor, tmp_path: Path, damage: str, at_sigterm: str, is_for_all: bool
) -> None:
    executor = unconfined
    body = f"""
def end(*_): {at_sigterm}
signal.signal(signal.SIGTERM, end)
{damage}
Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid()))
while True:
    time.sleep(0.01)
"""
    await executor.start(of(body))
    await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    pid = int((tmp_path / "pid").read_text())
    assert isinstance(await executor.find(of(body)), Running)
    async with asyncio.timeout(PATIENCE_SECONDS):
        if is_for_all and at_sigterm != "pass":
            await executor.request_stop_of_all()
        else:
            await executor.stop(of(body))
    await until(lambda: not is_alive(pid))


@pytest.mark.parametrize("kind", ["fifo", "directory", "loop", "garbage", "large", "number"])
@pytest.mark.parametrize("name", ["exit.json", "output.json"])
async def test_a_record_that_was_changed_after_the_end_is_a_failure(
    executor: ProcessExecutor, make: Make, name: str, kind: str
) -> None:
    wanted = of("return 1")
    await outcome(executor, wanted)
    path = Path(await executor.start(wanted)) / name
    path.unlink()
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "loop":
            path.symlink_to(path)
        case "large":
            path.touch()
            os.truncate(path, 2**40)
        case "garbage":
            path.write_bytes(b"\xff{")
        case "number":
            path.write_text('{"code": -1' + 30 * "0" + "}")
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert isinstance(await make().find(wanted), Failed)


async def test_the_output_of_a_task_is_kept_up_to_a_size(executor: ProcessExecutor) -> None:
    body = """
for _ in range(200):
    os.write(2, 2**20 * b"x")
os.write(2, b"the end")
os._exit(3)
"""
    failed = await outcome(executor, of(body))
    assert isinstance(failed, Failed)
    assert failed.error.endswith("xxx" + "the end")
    directory = Path(await executor.start(of(body)))
    assert sum(each.stat().st_size for each in directory.iterdir()) < 4 * 2**20


async def test_a_second_start_does_not_change_the_files_of_an_attempt(
    executor: ProcessExecutor, make: Make
) -> None:
    await outcome(executor, attempt("double", x=1))
    location = Path(await make().start(attempt("double", x=100)))
    assert '"x":1}' in (location / "work" / "task.json").read_text()


async def test_an_error_names_the_file_that_cannot_be_written(
    executor: ProcessExecutor, tmp_path: Path
) -> None:
    data_next_to(tmp_path).mkdir(exist_ok=True)
    (data_next_to(tmp_path) / "executions").write_text("a file instead of a directory")
    with pytest.raises(ExecutorUnavailable, match="executions"):
        await executor.start(attempt("double", x=1))


async def test_a_variable_that_is_too_long_for_a_process_is_rejected(
    executor: ProcessExecutor,
) -> None:
    wanted = attempt("double", environment={"LONG": "x" * 200_000}, x=1)
    with pytest.raises(AttemptRejected, match=r"^environment\.LONG: .*at most 131071 bytes"):
        await executor.start(wanted)
    assert await executor.find(wanted) == Absent()


async def test_the_longest_variable_reaches_a_program_that_the_task_starts(
    executor: ProcessExecutor,
) -> None:
    limits = executor.capabilities.environment_limits
    assert limits is not None
    longest = "x" * (limits.variable_bytes - len("N0="))
    count = limits.total_bytes // (limits.variable_bytes + 1)
    body = "return int(subprocess.check_output(['sh', '-c', 'echo ${#N0}']))"
    wanted = of(body, environment={f"N{number}": longest for number in range(count)})
    assert await outcome(executor, wanted) == Returned(len(longest))


async def test_a_state_that_cannot_be_read_is_unavailable(
    executor: ProcessExecutor, tmp_path: Path
) -> None:
    directory = data_next_to(tmp_path) / "executions" / "e1" / "n0" / "0"
    directory.parent.mkdir(parents=True)
    directory.symlink_to(directory)  # a loop, which root cannot open either
    wanted = attempt("double", x=1)
    for call in (executor.find, executor.wait, executor.stop):
        with pytest.raises(ExecutorUnavailable):
            await call(wanted)


# ---- processes that a task starts ----

DAEMON = """
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.closerange(0, 100)
        os.chdir("/")
        with open(PATH, "w") as file:
            file.write(str(os.getpid()))
        time.sleep(3600)
    os._exit(0)
os.wait()
while not (os.path.exists(PATH) and Path(PATH).read_text()):
    time.sleep(0.01)
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Path:
    return tmp_path / "daemon"


def with_daemon(daemon: Path, rest: str) -> Attempt:
    """An attempt whose task leaves a process in a session of its own, which has no file open."""
    return of(f"PATH = {str(daemon)!r}\n{DAEMON.strip()}\n{rest}")


@pytest.mark.parametrize("rest", ["return 1", "os._exit(3)", "os.kill(os.getpid(), 9)"])
async def test_nothing_that_a_task_started_outlives_its_end(
    executor: ProcessExecutor, daemon: Path, rest: str
) -> None:
    await outcome(executor, with_daemon(daemon, rest))
    assert not is_alive(int(daemon.read_text()))


async def test_nothing_that_a_task_started_outlives_a_stop(
    executor: ProcessExecutor, make: Make, daemon: Path
) -> None:
    wanted = with_daemon(daemon, "time.sleep(3600)")
    await executor.start(wanted)
    await until(daemon.exists)
    assert isinstance(await make().stop(wanted), Stopped)
    await until(lambda: not is_alive(int(daemon.read_text() or "0")))


@pytest.mark.parametrize("victim", ["shim", "guard", "both"])
async def test_nothing_that_a_task_started_outlives_its_shim_and_guard(
    executor: ProcessExecutor, make: Make, daemon: Path, victim: str
) -> None:
    wanted = with_daemon(daemon, "time.sleep(3600)")
    shim = shim_of(await executor.start(wanted))
    await until(lambda: daemon.exists() and daemon.read_text())
    guard = next(p for p in linux.descendants(shim) if os.getsid(p) == shim)
    task = next(p for p in linux.descendants(guard) if os.getsid(p) == p)
    for pid in {"shim": [shim], "guard": [guard], "both": [shim, guard]}[victim]:
        os.kill(pid, signal.SIGKILL)
    assert isinstance(await make().wait(wanted), Interrupted)
    await until(lambda: not is_alive(task))
    if victim == "both":
        # None is left that knows of it, unless the guard had the time to see the shim's end.
        with suppress(ProcessLookupError):
            os.kill(int(daemon.read_text()), signal.SIGKILL)
    else:
        assert not is_alive(int(daemon.read_text()))
        assert not is_alive(task)


# ---- stops ----


@pytest.fixture
def unrelated() -> Iterator["subprocess.Popen[bytes]"]:
    """A process group that belongs to no attempt."""
    with ended(subprocess.Popen(["sleep", "600"], start_new_session=True)) as started:
        yield started


class Begun:
    """An attempt whose task runs, and which another instance than the one that started it stops."""

    def __init__(self, owner: ProcessExecutor, other: ProcessExecutor, wanted: Attempt) -> None:
        self._owner = owner
        self._other = other
        self._attempt = wanted
        self.directory = owner.directory(wanted)
        self.shim = shim_of(self.directory)

    async def stop(self) -> Outcome:
        outcome = await self._other.stop(self._attempt)
        assert await self._owner.wait(self._attempt) == outcome
        return outcome

    def record(self, pid: int, pid_namespace: str) -> None:
        """Replace what the shim recorded; no process has started at 1."""
        (self.directory / "started").write_text(f"{pid} {pid_namespace} 1")


Begin = Callable[[str], Awaitable[Begun]]


@pytest.fixture
def begin(make: Make, tmp_path: Path) -> Begin:
    async def start(task: str) -> Begun:
        owner, wanted = make(), attempt(task, directory=str(tmp_path))
        await owner.start(wanted)
        await begun(tmp_path)
        return Begun(owner, make(), wanted)

    return start


@pytest.mark.parametrize("pid_namespace", ["pid:[1]", linux.pid_namespace()])
@pytest.mark.parametrize("task", ["gated", "stubborn"])
async def test_stop_ends_an_attempt_and_no_other_process_with_the_pid_of_its_shim(
    begin: Begin, unrelated: "subprocess.Popen[bytes]", task: str, pid_namespace: str
) -> None:
    running = await begin(task)
    running.record(unrelated.pid, pid_namespace)
    assert isinstance(await running.stop(), Stopped)
    assert unrelated.poll() is None


async def test_stop_ends_an_attempt_whose_processes_are_suspended(begin: Begin) -> None:
    running = await begin("gated")
    for pid in (running.shim, *linux.descendants(running.shim)):
        os.kill(pid, signal.SIGSTOP)
    assert isinstance(await running.stop(), Stopped)


async def test_stop_ends_an_attempt_whose_shim_does_not_react(begin: Begin) -> None:
    running = await begin("stubborn")
    (running.directory / "control").unlink()
    assert isinstance(await running.stop(), Stopped)


async def test_stop_ends_an_attempt_whose_start_is_not_recorded(begin: Begin) -> None:
    running = await begin("gated")
    (running.directory / "started").unlink()
    assert isinstance(await running.stop(), Stopped)


async def test_a_sigterm_that_a_shim_receives_stops_its_task_in_order(
    begin: Begin, executor: ProcessExecutor, tmp_path: Path
) -> None:
    """A supervisor that ends all processes of a service sends it."""
    running = await begin("polite")
    os.kill(running.shim, signal.SIGTERM)
    wanted = attempt("polite", directory=str(tmp_path))
    assert await executor.wait(wanted) == Returned("finished early")


async def test_a_stop_of_all_returns_when_the_attempts_have_ended(
    begin: Begin, make: Make, tmp_path: Path
) -> None:
    await begin("polite")
    wanted = attempt("polite", directory=str(tmp_path))
    adopting = make()
    await adopting.start(wanted)
    await adopting.request_stop_of_all()
    assert await make().find(wanted) == Returned("finished early")


async def test_a_stop_of_all_reaches_the_others_when_one_directory_cannot_be_read(
    executor: ProcessExecutor, tmp_path: Path
) -> None:
    attempts = [
        of("Path('begun').write_text('once'); time.sleep(3600)", number) for number in range(2)
    ]
    locations = [Path(await executor.start(each)) for each in attempts]
    for location in locations:
        await begun(location / "work")
    aside = tmp_path / "aside"
    locations[0].rename(aside)
    locations[0].symlink_to(locations[0])
    await executor.request_stop_of_all()
    await executor.request_stop_of_all()
    assert isinstance(await executor.wait(attempts[1]), Stopped)
    locations[0].unlink()
    aside.rename(locations[0])
    assert isinstance(await executor.stop(attempts[0]), Stopped)


# ---- an earlier release ----


class Earlier:
    """An attempt that the shim of an earlier release runs, in the directory of its task."""

    def __init__(self, executor: ProcessExecutor, program: str) -> None:
        self.attempt = attempt("double", x=1)
        self.directory = executor.directory(self.attempt)
        self.directory.mkdir(parents=True)
        command = [sys.executable, "-I", "-S", str(EARLIER_SHIM), sys.executable, "-c", program]
        self.shim = subprocess.Popen(command, cwd=self.directory, start_new_session=True)


REST = "import time; print('once', file=open('begun', 'w'), flush=True); time.sleep(3600)"


@pytest.fixture
def earlier(executor: ProcessExecutor) -> Iterator[Callable[[str], Earlier]]:
    started: list[Earlier] = []

    def start(program: str) -> Earlier:
        started.append(Earlier(executor, program))
        return started[-1]

    yield start
    for each in started:
        each.shim.kill()
        each.shim.wait()


async def test_an_attempt_of_an_earlier_release_is_adopted_and_stopped(
    executor: ProcessExecutor, earlier: Callable[[str], Earlier]
) -> None:
    running = earlier(REST)
    await begun(running.directory)
    assert isinstance(await executor.find(running.attempt), Running)
    await executor.start(running.attempt)
    assert isinstance(await executor.stop(running.attempt), Stopped)
    assert not (running.directory / "work").exists()


async def test_stop_ends_a_task_of_an_earlier_release_whose_shim_was_killed(
    executor: ProcessExecutor, earlier: Callable[[str], Earlier]
) -> None:
    running = earlier(REST)
    await begun(running.directory)
    running.shim.kill()
    running.shim.wait()
    assert isinstance(await executor.stop(running.attempt), Stopped)


async def test_a_task_of_an_earlier_release_in_another_pid_namespace_may_be_unreachable(
    executor: ProcessExecutor,
    earlier: Callable[[str], Earlier],
    unrelated: "subprocess.Popen[bytes]",
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = earlier(REST)
    await begun(running.directory)
    group = running.shim.pid
    running.shim.kill()
    running.shim.wait()
    (running.directory / "started").write_text(f"{unrelated.pid} pid:[1]")
    stopping = asyncio.create_task(executor.stop(running.attempt))
    await until(lambda: len(caplog.records) == 2)
    assert {record.message for record in caplog.records} == {"attempt.unreachable"}
    assert isinstance(await executor.find(running.attempt), Running)
    assert unrelated.poll() is None
    os.killpg(group, signal.SIGKILL)
    assert isinstance(await stopping, Stopped)


async def test_the_outcome_of_an_attempt_of_an_earlier_release_is_read(
    executor: ProcessExecutor, earlier: Callable[[str], Earlier]
) -> None:
    # A process that the task leaves has inherited the lock.
    program = """
import os, time
open("output.json", "w").write('{"output": 42}')
if os.fork() == 0:
    open("left", "w").write(str(os.getpid()))
    time.sleep(3600)
"""
    ended = earlier(program)
    await until((ended.directory / "exit.json").exists)
    assert await executor.wait(ended.attempt) == Returned(42)
    left = ended.directory / "left"
    await until(lambda: left.exists() and left.read_text())
    os.kill(int(left.read_text()), signal.SIGKILL)


async def test_an_interrupted_attempt_of_an_earlier_release_is_interrupted(
    executor: ProcessExecutor, earlier: Callable[[str], Earlier]
) -> None:
    running = earlier(REST)
    await begun(running.directory)
    os.killpg(running.shim.pid, signal.SIGKILL)
    assert isinstance(await executor.wait(running.attempt), Interrupted)


async def test_an_earlier_release_does_not_start_an_attempt_of_this_one(
    executor: ProcessExecutor, earlier: Callable[[str], Earlier], tmp_path: Path
) -> None:
    wanted = attempt("gated", directory=str(tmp_path))
    location = Path(await executor.start(wanted))
    await begun(tmp_path)
    append = "open('ran', 'w')"
    command = [sys.executable, "-I", "-S", str(EARLIER_SHIM), sys.executable, "-c", append]
    shim = subprocess.Popen(command, cwd=location)
    (tmp_path / "go").touch()
    assert await executor.wait(wanted) == Returned("went")
    shim.wait(PATIENCE_SECONDS)
    assert not (location / "ran").exists()


async def test_an_earlier_release_stops_an_attempt_of_this_one(
    executor: ProcessExecutor, tmp_path: Path
) -> None:
    wanted = attempt("stubborn", directory=str(tmp_path))
    location = Path(await executor.start(wanted))
    await begun(tmp_path)
    # It takes the shim for one of another PID namespace, because there is one more field.
    for number in (signal.SIGTERM, signal.SIGKILL):
        with open(location / "control", "wb", buffering=0) as control:
            control.write(bytes([number]))
    assert isinstance(await executor.wait(wanted), Stopped)


# ---- starts ----


async def test_the_start_waits_while_another_process_may_start_the_attempt(
    executor: ProcessExecutor,
) -> None:
    wanted = of("return 1")
    directory = executor.directory(wanted)
    directory.mkdir(parents=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        starting = asyncio.create_task(executor.start(wanted))
        done, _ = await asyncio.wait([starting], timeout=0.5)
        assert not done
        assert not (directory / "started").exists()
    await starting
    assert await executor.wait(wanted) == Returned(1)


async def test_attempts_outlive_the_fork_server_and_another_one_is_started(
    executor: ProcessExecutor, tmp_path: Path
) -> None:
    running = attempt("gated", directory=str(tmp_path))
    await executor.start(running)
    await begun(tmp_path)
    server = parent_of(shim_of(await executor.start(running)))
    os.kill(server, signal.SIGKILL)
    assert await outcome(executor, attempt("double", 1, x=1)) == Returned(2)
    (tmp_path / "go").touch()
    assert await executor.wait(running) == Returned("went")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_a_start_whose_fork_server_is_killed_meanwhile_runs_the_task_once(
    executor: ProcessExecutor, tmp_path: Path
) -> None:
    idle = of("time.sleep(3600)", 99)
    server = parent_of(shim_of(await executor.start(idle)))
    os.kill(server, signal.SIGSTOP)
    wanted = [attempt("gated", number, directory=str(tmp_path)) for number in range(3)]
    starting = [asyncio.create_task(executor.start(each)) for each in wanted]
    done, _ = await asyncio.wait(starting, timeout=0.3)
    assert not done
    os.kill(server, signal.SIGKILL)
    await asyncio.gather(*starting)
    (tmp_path / "go").touch()
    assert [await executor.wait(each) for each in wanted] == [Returned("went")] * 3
    assert (tmp_path / "begun").read_text() == "once\n" * 3
    await executor.stop(idle)


async def test_a_start_that_is_cancelled_leaves_no_doubt(
    executor: ProcessExecutor, make: Make, tmp_path: Path
) -> None:
    idle = of("time.sleep(3600)", 99)
    server = parent_of(shim_of(await executor.start(idle)))
    os.kill(server, signal.SIGSTOP)
    wanted = attempt("gated", directory=str(tmp_path))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await executor.start(wanted)
    other = make()
    starting = asyncio.create_task(other.start(wanted))
    os.kill(server, signal.SIGCONT)
    await starting
    (tmp_path / "go").touch()
    assert await other.wait(wanted) == Returned("went")
    assert (tmp_path / "begun").read_text() == "once\n"
    await executor.stop(idle)


STARTER = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from tests.integration.propeller.executor_contract import attempt
from trimtab_propeller.executors.confinement import Confinement
from trimtab_propeller.executors.process import ProcessExecutor

async def main(data, directory, count):
    confinement = replace(Confinement.of_this_kernel(), writable=(directory,))
    executor = ProcessExecutor(Path(data), confinement=confinement)
    attempts = [attempt("marks", n, directory=directory, mark=n) for n in range(int(count))]
    print("ready", flush=True)
    await asyncio.gather(*(executor.start(each) for each in attempts))
    for each in attempts:
        await executor.stop(each)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_each_task_runs_once_however_often_its_propeller_is_killed(
    make: Make, tmp_path: Path, seed: int
) -> None:
    """Processes that start and stop the attempts are killed at any point."""
    chance, count, rounds = random.Random(seed), 12, 5
    data = str(data_next_to(tmp_path))
    command = [sys.executable, "-c", STARTER, data, str(tmp_path), str(count)]
    for _ in range(rounds):
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as starter:
            assert starter.stdout is not None
            assert starter.stdout.readline() == b"ready\n"
            await asyncio.sleep(chance.random())
            starter.kill()
    executor = make()
    attempts = [
        attempt("marks", number, directory=str(tmp_path), mark=number) for number in range(count)
    ]
    await asyncio.gather(*(executor.start(each) for each in attempts))
    outcomes = [await executor.wait(each) for each in attempts]
    for number, each in enumerate(outcomes):
        marks = tmp_path / f"marked-{number}"
        times = len(marks.read_text()) if marks.exists() else 0
        assert times == 1 if isinstance(each, Returned) else times <= 1
        assert isinstance(each, Returned | Stopped)
        # Another propeller finds the same.
        assert await make().find(attempts[number]) == each


def test_a_started_attempt_whose_lock_is_free_is_interrupted(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    assert read_state(tmp_path) == Absent()
    (tmp_path / "started").write_text("1")
    assert isinstance(read_state(tmp_path), Interrupted)


# ---- what a task finds ----

DESCRIBE = """
import __main__, multiprocessing, resource
def number(name):
    return name if isinstance(name, str) else int(name)
return {
    "environment": sorted(os.environ),
    "argv": [os.path.basename(each) for each in sys.argv],
    "path": sys.path,
    "cwd": os.path.basename(os.getcwd()),
    "main": [__main__.__name__, __main__.__spec__.name, __main__.__file__],
    "descriptors": sorted(os.listdir("/proc/self/fd")),
    "signals": [str(signal.getsignal(n)) for n in signal.valid_signals()],
    "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "umask": os.umask(0),
    "threads": threading.active_count(),
    "session": os.getsid(0) == os.getpid(),
    "priority": os.getpriority(os.PRIO_PROCESS, 0),
    "limits": resource.getrlimit(resource.RLIMIT_NOFILE),
    "streams": [[s.encoding, s.errors, s.line_buffering, s.isatty()]
                for s in (sys.stdin, sys.stdout, sys.stderr)],
    "time zone": time.tzname,
    "children": multiprocessing.active_children(),
}
"""


async def test_a_forked_task_finds_what_a_new_interpreter_has(executor: ProcessExecutor) -> None:
    environment = {"TZ": "Asia/Tokyo", "LOG": "info"}
    found = []
    for number, name in enumerate(["NPYTHON", "PYTHONN"]):
        wanted = of(DESCRIBE, number, environment={**environment, name: "1"})
        returned = await outcome(executor, wanted)
        assert isinstance(returned, Returned)
        assert isinstance(returned.output, dict)
        environment_names = returned.output["environment"]
        assert isinstance(environment_names, list)
        environment_names.remove(name)
        found.append(returned.output)
    assert found[0] == found[1]
    assert found[0]["time zone"] == ["JST", "JST"]


@pytest.mark.parametrize(
    ("variable", "program"),
    [
        ("LOG", "fork_server"),
        ("PYTHONOPTIMIZE", "trimtab.workflows.entrypoint"),
        ("LC_ALL", "trimtab.workflows.entrypoint"),
        ("LD_LIBRARY_PATH", "trimtab.workflows.entrypoint"),
        ("HOME", "trimtab.workflows.entrypoint"),
    ],
)
async def test_a_variable_that_acts_at_the_start_of_an_interpreter_has_one(
    executor: ProcessExecutor, variable: str, program: str
) -> None:
    body = "return Path('/proc/self/cmdline').read_text()"
    found = await outcome(executor, of(body, environment={variable: "1"}))
    assert isinstance(found, Returned)
    assert program in str(found.output)


async def test_random_numbers_differ_between_attempts(executor: ProcessExecutor) -> None:
    body = "import uuid\nreturn [random.random(), str(uuid.uuid4()), os.urandom(8).hex()]"
    outputs = [await outcome(executor, of(body, number)) for number in range(2)]
    first, second = (each.output for each in outputs if isinstance(each, Returned))
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert not set(map(str, first)) & set(map(str, second))


async def test_a_task_may_use_processes_and_threads(executor: ProcessExecutor) -> None:
    body = """
import concurrent.futures as futures, multiprocessing
with multiprocessing.Pool(2) as pool:
    sums = pool.map(abs, [-1, -2])
for method in ("spawn", "forkserver"):
    context = multiprocessing.get_context(method)
    with futures.ProcessPoolExecutor(1, mp_context=context) as processes:
        sums.append(processes.submit(abs, -3).result())
with futures.ThreadPoolExecutor(2) as threads:
    sums += threads.map(abs, [-4, -5])
return sums
"""
    assert await outcome(executor, of(body)) == Returned([1, 2, 3, 3, 4, 5])


async def test_a_task_ends_as_an_interpreter_does(
    executor: ProcessExecutor, tmp_path: Path
) -> None:
    body = f"""
import atexit, logging
global left_open
left_open = open({str(tmp_path / "left")!r}, "w")
left_open.write("written")
atexit.register(print, "at exit")
def late():
    time.sleep(0.2)
    print("from a thread")
threading.Thread(target=late).start()
print("from the task")
return 1
"""
    assert await outcome(executor, of(body)) == Returned(1)
    location = await executor.start(of(body))
    lines = (Path(location) / "stdout").read_text().splitlines()
    assert lines == ["from the task", "from a thread", "at exit"]
    assert (tmp_path / "left").read_text() == "written"


async def test_a_task_does_not_see_the_environment_of_the_service(
    monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    monkeypatch.setenv("TRIMTAB_NATS_PASSWORD", "secret-of-propeller")
    body = "return Path('/proc/self/environ').read_text() + str(os.environ)"
    found = await outcome(make(), of(body))
    assert isinstance(found, Returned)
    assert "secret-of-propeller" not in str(found.output)


async def test_an_environment_is_stored_nowhere(executor: ProcessExecutor) -> None:
    wanted = of("return 1", environment={"PASSWORD": "secret-of-the-task"})
    await outcome(executor, wanted)
    for path in Path(await executor.start(wanted)).rglob("*"):
        if path.is_file():
            assert b"secret-of-the-task" not in path.read_bytes()


SECRET = "hunter2-only-in-memory"


@pytest.fixture
def with_secrets(tmp_path: Path) -> Iterator[ProcessExecutor]:
    """An executor with one secret, of the project and domain of all attempts."""
    file = tmp_path / "secrets" / "shop" / "development" / "db" / "password"
    file.parent.mkdir(parents=True)
    file.write_text(SECRET + "\n")
    executor = ProcessExecutor(tmp_path / "data", GRACE_SECONDS, secrets_dir=tmp_path / "secrets")
    yield executor
    executor.close()


def naming(key: str, source: str) -> Attempt:
    return of(source, secrets=(Secret(group="db", key=key),))


async def test_a_task_gets_its_secrets_which_no_file_of_the_executor_has(
    with_secrets: ProcessExecutor, tmp_path: Path
) -> None:
    own = naming("password", 'return os.environ["_FSEC_DB_PASSWORD"][::-1]')
    await with_secrets.start(own)
    assert await with_secrets.wait(own) == Returned(SECRET[::-1])
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


async def test_an_attempt_that_names_a_missing_secret_is_rejected(
    with_secrets: ProcessExecutor,
) -> None:
    with pytest.raises(AttemptRejected, match="secret 'db/user' exists neither for project"):
        await with_secrets.start(naming("user", "return 1"))


async def test_an_attempt_that_was_started_needs_its_secrets_no_more(
    with_secrets: ProcessExecutor, tmp_path: Path
) -> None:
    own = naming("password", "return 1")
    location = await with_secrets.start(own)
    shutil.rmtree(tmp_path / "secrets")
    assert await with_secrets.start(own) == location
    assert await with_secrets.wait(own) == Returned(1)


async def test_without_a_directory_of_secrets_they_are_ignored_as_is_declared(
    executor: ProcessExecutor, with_secrets: ProcessExecutor
) -> None:
    own = naming("password", 'return os.environ.get("_FSEC_DB_PASSWORD")')
    await executor.start(own)
    assert await executor.wait(own) == Returned(None)
    assert "security_context.secrets" in executor.capabilities.ignores
    assert "security_context.secrets" not in with_secrets.capabilities.ignores
