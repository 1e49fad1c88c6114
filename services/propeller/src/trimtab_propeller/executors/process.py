"""The executor ``process``: attempts as local processes under a shim, on one host.

The state of an attempt is its directory, so any propeller with the same data directory can follow
an attempt to its end, whichever propeller started it.
"""

import asyncio
import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from trimtab.runtime.retrying import backoff_seconds
from trimtab.workflows.entrypoint import TaskCall, TaskOutput, write_whole
from trimtab_propeller.executors import shim
from trimtab_propeller.executors.port import (
    Absent,
    Attempt,
    AttemptRejected,
    AttemptState,
    Capabilities,
    ExecutorUnavailable,
    Failed,
    Interrupted,
    Location,
    Outcome,
    Returned,
    Running,
)

log = logging.getLogger(__name__)

CAPABILITIES = Capabilities(
    "process",
    ignores=(
        "annotations",
        "cluster",
        "cluster_assignment",
        "container_image",
        "execution_cluster_label",
        "execution_env_assignments",
        "execution_queue",
        "interruptible",
        "labels",
        "overwrite_cache",
        "plugin_override",
        "quality_of_service",
        "raw_output_data_config",
        "resources.limits",
        "security_context",
    ),
)
STOP_GRACE_SECONDS = 2.0
"""How long a task may take to end after SIGTERM. The default grace of resmgr is as long."""

_INHERITED = ("HOME", "LANG", "PATH")
"""The only variables of the service's own environment that a task sees."""
_MAX_ERROR = 4000
"""Characters of a failure that are stored in the execution log."""
_FIRST_POLL_SECONDS = 0.02
_LONGEST_POLL_SECONDS = 0.2
_REJECTING = frozenset({errno.E2BIG, errno.ENAMETOOLONG})
"""Errors of the operating system that depend on the attempt alone."""
_WITHOUT_READER = frozenset({errno.ENOENT, errno.ENXIO, errno.EPIPE})
"""Errors of writing to a FIFO that no process reads."""

T = TypeVar("T")


class _Exit(BaseModel):
    """The content of ``exit.json``."""

    code: int
    """Negative for a signal."""


class ProcessExecutor:
    """Runs each attempt as a process of this host, in a directory of its own."""

    capabilities = CAPABILITIES

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir.resolve() / "executions"
        self._shims: dict[Path, subprocess.Popen[bytes]] = {}
        self._started: set[Path] = set()

    async def find(self, attempt: Attempt) -> AttemptState:
        directory = self._directory(attempt)
        return await _in_thread(lambda: self._state(directory))

    async def start(self, attempt: Attempt) -> Location:
        directory = self._directory(attempt)
        self._started.add(directory)
        await _in_thread(lambda: self._spawn_if_absent(directory, attempt))
        return Location(str(directory))

    async def wait(self, attempt: Attempt) -> Outcome:
        directory, polls = self._directory(attempt), 0
        while True:
            own = self._shims.get(directory)
            # The state is read after the shim was seen to end, so that it includes its outcome.
            is_shim_gone = own is None or own.poll() is not None
            state = await _in_thread(lambda: read_state(directory))
            if isinstance(state, Absent) and is_shim_gone:
                state = Interrupted("the shim ended before it started the task")
            if not isinstance(state, Absent | Running):
                self._shims.pop(directory, None)
                self._started.discard(directory)
                if own is not None:
                    # The shim ends right after it has written the outcome; this reaps it.
                    await asyncio.to_thread(own.wait)
                return state
            polls += 1
            pause = backoff_seconds(polls, first=_FIRST_POLL_SECONDS, longest=_LONGEST_POLL_SECONDS)
            await asyncio.sleep(pause)

    async def stop(self, attempt: Attempt) -> Outcome:
        directory = self._directory(attempt)
        await _in_thread(lambda: self._signal(directory, signal.SIGTERM))
        try:
            async with asyncio.timeout(STOP_GRACE_SECONDS):
                return await self.wait(attempt)
        except TimeoutError:
            await _in_thread(lambda: self._signal(directory, signal.SIGKILL))
        return await self.wait(attempt)

    async def request_stop_of_all(self) -> None:
        def signal_all(directories: list[Path]) -> None:
            for directory in directories:
                self._signal(directory, signal.SIGTERM)

        directories = list(self._started)
        await _in_thread(lambda: signal_all(directories))

    def _directory(self, attempt: Attempt) -> Path:
        return self._root / attempt.execution / attempt.node / str(attempt.number)

    def _state(self, directory: Path) -> AttemptState:
        """Return the state, which is `Running` from before the shim of this instance has the lock.

        Another instance finds the attempt absent until then. It may start a second shim, which
        waits for the lock and does not run the task again.
        """
        own = self._shims.get(directory)
        is_shim_running = own is not None and own.poll() is None
        state = read_state(directory)
        if isinstance(state, Absent) and is_shim_running:
            return Running(Location(str(directory)))
        return state

    def _signal(self, directory: Path, number: signal.Signals) -> None:
        """Send a signal to the shim of the attempt and to its task."""
        own = self._shims.get(directory)
        is_started = (directory / "started").exists()
        # The attempt may have ended since its state was read.
        with suppress(ProcessLookupError):
            if is_started and isinstance(read_state(directory), Running):
                _signal_group(directory, number)
            elif own is not None and own.poll() is None:
                # The whole group, because the shim may have started the task by now.
                os.killpg(own.pid, number)

    def _spawn_if_absent(self, directory: Path, attempt: Attempt) -> None:
        if not isinstance(self._state(directory), Absent):
            return
        directory.mkdir(parents=True, exist_ok=True)
        write_whole(directory / "module.py", attempt.module)
        call = TaskCall(task=attempt.task, inputs=attempt.inputs)
        write_whole(directory / "task.json", call.model_dump_json())
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        runner = [sys.executable, "-P", "-m", "trimtab.workflows.entrypoint", str(directory)]
        with open(directory / "stdout", "ab") as output, open(directory / "stderr", "ab") as errors:
            self._shims[directory] = subprocess.Popen(
                [sys.executable, "-I", "-S", shim.__file__, *runner],
                cwd=directory,
                env={**inherited, **attempt.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                # In a session of its own, neither Ctrl-C nor the end of the service ends the task.
                start_new_session=True,
            )


async def _in_thread(work: Callable[[], T]) -> T:
    """Run blocking work beside the event loop, and raise its `OSError` as an `ExecutorError`."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        if error.errno in _REJECTING:
            raise AttemptRejected(str(error)) from error
        raise ExecutorUnavailable(str(error)) from error


def read_state(directory: Path) -> AttemptState:
    """Return the state of the attempt whose directory this is. Raises `OSError`."""
    try:
        lock = os.open(directory / "lock", os.O_RDWR)
    except (FileNotFoundError, NotADirectoryError):
        return Absent()
    try:
        # A shared lock is kept until the state is read, so that no shim starts a task meanwhile.
        is_free = _lock_shared(lock)
        if (directory / "exit.json").exists():
            return _read_outcome(directory)
        if not is_free:
            return Running(Location(str(directory)))
        if (directory / "started").exists():
            return Interrupted("the attempt's processes were ended from outside")
        return Absent()
    finally:
        os.close(lock)


def _signal_group(directory: Path, number: signal.Signals) -> None:
    """Send a signal to the process group of a started attempt, in whichever PID namespace it is.

    In this one, the kernel sends it, which also ends a group that is suspended. In another one the
    recorded PID is that of an unrelated process here, so the shim is requested to send it.
    """
    pid, _, pid_namespace = (directory / "started").read_text().partition(" ")
    # Shims of earlier releases did not record the PID namespace, and had no FIFO.
    if pid_namespace in ("", shim.pid_namespace()):
        os.killpg(int(pid), number)
        return
    try:
        control = os.open(directory / "control", os.O_WRONLY | os.O_NONBLOCK)
        with open(control, "wb", buffering=0) as fifo:
            fifo.write(bytes([number]))
    except OSError as error:
        if error.errno not in _WITHOUT_READER:
            raise
        fields = {
            "directory": str(directory),
            "signal": number.name,
            "pid_namespace": pid_namespace,
        }
        log.warning("attempt.unreachable", extra=fields)


def _lock_shared(lock: int) -> bool:
    """Take a shared lock, and return whether no process of the attempt holds the exclusive one."""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_outcome(directory: Path) -> Outcome:
    code = _Exit.model_validate_json((directory / "exit.json").read_bytes()).code
    if code == 0:
        try:
            output = (directory / "output.json").read_bytes()
            return Returned(TaskOutput.model_validate_json(output).output)
        except (FileNotFoundError, ValidationError):
            return Failed("the task ended without leaving an output")
    error = directory / "error.txt"
    if error.exists():
        return Failed(error.read_text(encoding="utf-8", errors="replace")[:_MAX_ERROR])
    end = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    stderr = (directory / "stderr").read_text(encoding="utf-8", errors="replace").strip()
    return Failed(f"the task was ended by {end}\n{stderr[-_MAX_ERROR:]}".strip())
