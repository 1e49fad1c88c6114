"""The directories of attempts: their states, outcomes and locks, and requests to stop them.

`trimtab_propeller.executors.shim` lists the files. Nothing here trusts their content, because a
task may have the rights to change them: a file is read up to a size, and only if it is a regular
one.
"""

import errno
import fcntl
import io
import json
import logging
import os
import signal
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ValidationError

from trimtab.errors import Invalid
from trimtab.models import json_value
from trimtab.workflows.definitions.types import MAX_OUTPUT_BYTES
from trimtab.workflows.entrypoint import (
    BUNDLE,
    TEXT,
    TaskCall,
    TaskOutput,
    write_whole,
)
from trimtab_propeller.executors import linux, shim
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.port import (
    Absent,
    AttemptState,
    Failed,
    Interrupted,
    Location,
    Outcome,
    Returned,
    Running,
    Stopped,
)

log = logging.getLogger(__name__)

_MAX_ERROR = 4000
"""Characters of a failure that are stored in the execution log."""
_MAX_RECORD_BYTES = 16 * 1024
_MAX_OUTPUT_FILE_BYTES = MAX_OUTPUT_BYTES + 1024
_CHECK_PREFIX = "=check-"
"""No execution has such an id."""
_CHECK_BYTES = 64 * 1024
_WITHOUT_READER = frozenset({errno.ENOENT, errno.ENXIO, errno.EPIPE})
"""Errors of writing to a FIFO that no process reads."""
_READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_REPLACED = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EACCES})
"""Errors of opening what is no regular file, or may not be read."""


class _Unreadable(Exception):
    """A task has changed a file, so that it cannot be read."""


class _Exit(BaseModel):
    """The content of ``exit.json``."""

    code: int
    """Negative for a signal."""


@dataclass(frozen=True)
class Prepared:
    """An attempt that is ready to be started by the holder of its lock."""

    lock: IO[bytes]
    """No other process starts the attempt while this file, or a copy of its descriptor, is open."""
    call: IO[bytes]
    """A `shim.Call` for the fork server, as JSON."""

    def close(self) -> None:
        self.lock.close()
        self.call.close()


class Contended(Exception):
    """Another process holds the lock of an attempt that is not started yet."""


def read_state(directory: Path) -> AttemptState:
    """Return the state of the attempt whose directory this is. Raises `OSError`."""
    try:
        lock = _open_lock(directory)
    except (FileNotFoundError, NotADirectoryError):
        return Absent()
    except OSError as error:
        if _is_replaced(directory / "lock"):
            return Failed(f"the lock of the attempt was replaced: {error.strerror}")
        raise
    try:
        # A shared lock is kept until the state is read, so that no shim starts a task meanwhile.
        is_free = _lock_shared(lock)
        # While its shim holds the lock, an attempt has no end, whatever its task has written. Tasks
        # of earlier releases hold the lock too, and what they leave behind goes on doing so.
        has_ended = is_free or not _is_lock_of_shim(directory)
        if has_ended and os.path.lexists(directory / "exit.json"):
            return _read_outcome(directory)
        if not is_free:
            return Running(Location(str(directory)))
        if os.path.lexists(directory / "stop"):
            return Stopped("propeller stopped the attempt")
        if os.path.lexists(directory / "started"):
            return Interrupted("the attempt's processes were ended from outside")
        return Absent()
    finally:
        os.close(lock)


def _open_lock(directory: Path) -> int:
    """Open the lock, also where the task has taken the permission to do so away."""
    path, flags = directory / "lock", os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(path, flags)
    except PermissionError:
        os.chmod(directory, 0o700)
        os.chmod(path, 0o600)
        return os.open(path, flags)


def check_root(root: Path) -> None:
    """Check that the directories of attempts can be made and written. Raises `OSError`."""
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=_CHECK_PREFIX) as directory:
        write_whole(Path(directory) / "file", b"x" * _CHECK_BYTES)


def is_started(directory: Path) -> bool:
    """Return whether an attempt was started or stopped before, and so never starts again."""
    return any(os.path.lexists(directory / name) for name in ("exit.json", "started", "stop"))


def prepare(
    directory: Path, attempt: Attempt, bundle: bytes, make_call: Callable[[], shim.Call]
) -> Prepared | None:
    """Prepare the start of an attempt. Return ``None`` where it was started or stopped before.

    ``bundle`` is the code of an attempt that has one. Raises `Contended`, `OSError`, and what
    ``make_call`` raises, which is only called for a start.
    """
    directory.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    lock = io.FileIO(os.open(directory / "lock", flags, 0o600), "r+")
    try:
        is_ours = _lock_exclusively(lock.fileno())
        if is_started(directory):
            lock.close()
            return None
        if not is_ours:
            raise Contended
        work = directory / shim.WORK
        work.mkdir(exist_ok=True)
        _write_task(work, attempt, bundle)
        return Prepared(lock, _call_file(make_call()))
    except BaseException:
        lock.close()
        raise


def _write_task(work: Path, attempt: Attempt, bundle: bytes) -> None:
    is_bundled = attempt.kind == "bundle"
    if is_bundled:
        write_whole(work / BUNDLE, bundle)
    else:
        write_whole(work / TEXT, attempt.module.encode())
    module = attempt.module_name if is_bundled else ""
    task = TaskCall(task=attempt.function, module=module, inputs=attempt.inputs)
    write_whole(work / "task.json", task.model_dump_json().encode())


def _call_file(call: shim.Call) -> IO[bytes]:
    """Return a file without a name, because the environment may contain secrets."""
    file = tempfile.TemporaryFile(dir=call.directory)  # noqa: SIM115  # closed by its user
    file.write(json.dumps(asdict(call)).encode())
    file.flush()
    return file


def request_stop(directory: Path) -> None:
    """Request the end of an attempt, and that it is not started from now on. Raises `OSError`."""
    state = read_state(directory)
    if not isinstance(state, Absent | Running):
        return
    directory.mkdir(parents=True, exist_ok=True)
    shim.mark_stop(directory)
    os.close(os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    if isinstance(state, Running):
        _signal(directory, signal.SIGTERM)


def force_stop(directory: Path) -> None:
    """End an attempt that has not ended on request. Raises `OSError`."""
    if isinstance(read_state(directory), Running):
        _signal(directory, signal.SIGKILL)


@dataclass(frozen=True)
class Shim:
    """The content of ``started``."""

    pid: int
    pid_namespace: str = ""
    """Empty where a shim of the first release has not recorded it."""
    start_time: str = ""
    """Empty where a shim of an earlier release has not recorded it."""


def read_shim(directory: Path) -> Shim | None:
    """Return the shim of a started attempt; ``None`` where it is not known. Raises `OSError`."""
    try:
        pid, *others = _read(directory / "started", _MAX_RECORD_BYTES).decode().split()
        return Shim(int(pid), *others[:2]) if int(pid) > 1 else None
    except (FileNotFoundError, _Unreadable, ValueError):
        return None


def _is_lock_of_shim(directory: Path) -> bool:
    found = read_shim(directory)
    return found is None or found.start_time != ""


def _signal(directory: Path, number: signal.Signals) -> None:
    """Signal a running attempt, in whichever PID namespace it is.

    In another namespace the recorded PID is that of an unrelated process here, so the shim is
    requested to act. In this one, the kernel can also end a shim that is suspended.
    """
    found = read_shim(directory)
    if found is None:
        # A shim that has not written `started` yet sees the mark afterwards.
        _write_control(directory, number)
        return
    is_here = found.pid_namespace in ("", linux.pid_namespace())
    if is_here and not found.start_time:
        # The lock is held, so the group of a shim of an earlier release exists.
        with suppress(ProcessLookupError):
            os.killpg(found.pid, number)
        return
    is_shim_alive = is_here and found.start_time == linux.start_time(found.pid)
    if is_shim_alive and number == signal.SIGKILL:
        # The guard ends what the shim leaves.
        linux.send(found.pid, number)
        return
    is_written = _write_control(directory, number)
    if is_shim_alive:
        linux.send(found.pid, signal.SIGCONT)
    elif not is_written and not is_here:
        fields = {
            "directory": str(directory),
            "signal": number.name,
            "pid_namespace": found.pid_namespace,
        }
        log.warning("attempt.unreachable", extra=fields)


def _write_control(directory: Path, number: signal.Signals) -> bool:
    """Return whether a shim reads the FIFO, and the number has been written there."""
    try:
        control = os.open(directory / "control", os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with open(control, "wb", buffering=0) as fifo:
            if not stat.S_ISFIFO(os.fstat(control).st_mode):
                return False
            fifo.write(bytes([number]))
    except OSError as error:
        if error.errno in _WITHOUT_READER or _is_replaced(directory / "control"):
            return False
        raise
    return True


def _lock_shared(lock: int) -> bool:
    """Take a shared lock, and return whether no process of the attempt holds the exclusive one."""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_exclusively(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_outcome(directory: Path) -> Outcome:
    try:
        return _read_recorded_outcome(directory)
    except (_Unreadable, ValueError) as error:
        return Failed(f"the record of the attempt's end was changed: {error}"[:_MAX_ERROR])


def _read_recorded_outcome(directory: Path) -> Outcome:
    """Return the outcome. Raises `_Unreadable` and ``ValueError``."""
    exit_record = _read(directory / "exit.json", _MAX_RECORD_BYTES)
    code = _Exit.model_validate_json(exit_record).code
    if code == 0:
        try:
            return _read_output(directory)
        except FileNotFoundError:
            return Failed("the task ended without leaving an output")
    with suppress(FileNotFoundError):
        error = _read(directory / "error.txt", 4 * _MAX_ERROR, is_whole=False)
        return Failed(error.decode(errors="replace")[:_MAX_ERROR])
    return Failed(f"the task was ended by {_describe(code)}\n{_tail(directory)}".strip())


def _read_output(directory: Path) -> Outcome:
    content = _read(directory / "output.json", _MAX_OUTPUT_FILE_BYTES)
    try:
        output = json_value("output", TaskOutput.model_validate_json(content).output)
        TaskOutput(output=output).model_dump_json()
    except (Invalid, ValidationError, ValueError, RecursionError) as error:
        return Failed(f"the task's output is not a JSON value: {error}"[:_MAX_ERROR])
    return Returned(output)


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _tail(directory: Path) -> str:
    """Return the end of what the task wrote to standard error."""
    text = ""
    for name in ("stderr", "stderr.1"):
        if len(text) < _MAX_ERROR:
            with suppress(FileNotFoundError, _Unreadable):
                end = _read(directory / name, 4 * _MAX_ERROR, is_whole=False, is_end=True)
                text = end.decode(errors="replace") + text
    return text.strip()[-_MAX_ERROR:]


def _read(path: Path, limit: int, *, is_whole: bool = True, is_end: bool = False) -> bytes:
    """Read a file, or its beginning or end where it need not be whole.

    Raises `_Unreadable`, ``FileNotFoundError``, and other errors of ``OSError`` that do not depend
    on the file.
    """
    try:
        descriptor = os.open(path, _READING)
    except OSError as error:
        if error.errno in _REPLACED:
            raise _Unreadable(f"{path.name} is not a regular file") from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _Unreadable(f"{path.name} is not a regular file")
        if is_whole and status.st_size > limit:
            raise _Unreadable(f"{path.name} has {status.st_size} bytes, at most {limit} are read")
        start = max(0, status.st_size - limit) if is_end else 0
        return os.pread(descriptor, limit, start)
    finally:
        os.close(descriptor)


def _is_replaced(path: Path) -> bool:
    """Return whether something else than a regular file or a FIFO has this name."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode))
