"""The executor ``process``: attempts as local processes under a shim, on one host.

An attempt is its directory: any propeller that has the same data directory can see an attempt to
its end, whoever started it.
"""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from trimtab.workflows.entrypoint import TaskCall, TaskOutput, write_whole
from trimtab_propeller import shim
from trimtab_propeller.attempts import Broke, Job, Lost, Outcome, Returned
from trimtab_propeller.resolve import Capabilities

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
_INHERITED = ("HOME", "LANG", "PATH")
"""All that a task sees of the service's own environment."""
_MAX_ERROR = 4000
"""Characters of a failure that are kept in the log of the execution."""
_STOP_SECONDS = 2.0
"""That a task has to end by itself. By default resmgr keeps its units as long for it."""
_FIRST_LOOK_SECONDS = 0.02
_LAST_LOOK_SECONDS = 0.2


class _Exit(BaseModel):
    """``exit.json``."""

    code: int
    """Negative for a signal."""


class ProcessExecutor:
    """Starts attempts and waits for their ends."""

    capabilities = CAPABILITIES

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir.resolve() / "executions"
        self._shims: dict[Path, subprocess.Popen[bytes]] = {}
        self._seen: set[Path] = set()

    def knows(self, job: Job) -> bool:
        """Whether somebody has begun the attempt, whatever became of it."""
        return look(self._directory(job)) != "absent"

    async def start(self, job: Job) -> str:
        """Start what nobody has begun, and say where. Raises `OSError`."""
        directory = self._directory(job)
        self._seen.add(directory)
        if not self.knows(job):
            await asyncio.to_thread(self._spawn, directory, job)
        return str(directory)

    async def wait(self, job: Job) -> Outcome:
        """For the end of an attempt that was started, by whomever."""
        directory = self._directory(job)
        pause = _FIRST_LOOK_SECONDS
        while True:
            own = self._shims.get(directory)
            gone = own is None or own.poll() is not None
            # Looked at after the shim was seen to be gone, so that its last words count.
            seen = look(directory)
            if seen == "absent" and gone:
                seen = Lost("the shim ended before it had begun")
            if not isinstance(seen, str):
                self._shims.pop(directory, None)
                self._seen.discard(directory)
                if own is not None:
                    # It has said its last words and ends now; nobody else collects it.
                    await asyncio.to_thread(own.wait)
                return seen
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, _LAST_LOOK_SECONDS)

    async def stopped(self, job: Job) -> Outcome:
        """Make an attempt end that was started, by force where it takes its time."""
        directory = self._directory(job)
        self._send(directory, signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                return await self.wait(job)
        except TimeoutError:
            self._send(directory, signal.SIGKILL)
        return await self.wait(job)

    def stop_all(self) -> None:
        """End every attempt that was waited for; the next propeller will see them as lost."""
        for directory in self._seen:
            self._send(directory, signal.SIGTERM)

    def _send(self, directory: Path, what: signal.Signals) -> None:
        """To everything that runs there."""
        own = self._shims.get(directory)
        if look(directory) == "running":
            with suppress(ProcessLookupError):  # it has ended since we looked
                os.killpg(int((directory / "started").read_text()), what)
        elif own is not None and own.poll() is None:
            own.send_signal(what)  # before it begins

    def _directory(self, job: Job) -> Path:
        return self._root / job.execution / job.node / str(job.attempt)

    def _spawn(self, directory: Path, job: Job) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        write_whole(directory / "module.py", job.module)
        call = TaskCall(task=job.task, inputs=dict(job.inputs))
        write_whole(directory / "task.json", call.model_dump_json())
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        runner = [sys.executable, "-P", "-m", "trimtab.workflows.entrypoint", str(directory)]
        with open(directory / "stdout", "ab") as output, open(directory / "stderr", "ab") as errors:
            self._shims[directory] = subprocess.Popen(
                [sys.executable, "-I", "-S", shim.__file__, *runner],
                cwd=directory,
                env={**inherited, **job.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                # So that neither Ctrl-C nor the end of the service ends the task.
                start_new_session=True,
            )


def look(directory: Path) -> Literal["absent", "running"] | Outcome:
    """What the attempt's directory says of it now."""
    try:
        lock = os.open(directory / "lock", os.O_RDWR)
    except FileNotFoundError:
        return "absent"
    try:
        # Kept until we have looked, so that no shim begins in between.
        free = _shared(lock)
        if (directory / "exit.json").exists():
            return _outcome(directory)
        if not free:
            return "running"
        if (directory / "started").exists():
            return Lost("the attempt's processes were ended from outside")
        return "absent"
    finally:
        os.close(lock)


def _shared(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _outcome(directory: Path) -> Outcome:
    code = _Exit.model_validate_json((directory / "exit.json").read_bytes()).code
    if code == 0:
        try:
            output = (directory / "output.json").read_bytes()
            return Returned(TaskOutput.model_validate_json(output).output)
        except (FileNotFoundError, ValidationError):
            return Broke("the task ended without leaving an output")
    error = directory / "error.txt"
    if error.exists():
        return Broke(error.read_text(encoding="utf-8", errors="replace")[:_MAX_ERROR])
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    last_words = (directory / "stderr").read_text(encoding="utf-8", errors="replace").strip()
    return Broke(f"the task was ended by {how}\n{last_words[-_MAX_ERROR:]}".strip())
