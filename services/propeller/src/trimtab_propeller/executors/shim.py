"""Runs one attempt and records its end, even if the propeller that started it has gone.

The fork server forks the *shim*, the shim a *guard*, and the guard the *task*. Shim and guard hold
the attempt's lock, which the task does not: while either of them is alive, no process starts
the attempt. Each ends what the other one leaves. The guard adopts the task's orphans, and kills
whatever is left when the task or the shim has ended. The shim does the same when the guard has
ended, and nothing of the attempt runs any more when it records the end.

The shim works in the attempt's directory, and the task in ``work`` below it. The task restricts
itself before any code of a user runs in it, so that it reaches neither the files of the shim nor
the processes around it. The files are

* ``lock``
* ``started``: the shim's PID, PID namespace and start time. The attempt is never started again.
* ``stop``: a stop was requested. An attempt with it that has no ``exit.json`` was stopped.
* ``control``: a FIFO. Each byte is a signal: SIGTERM requests a stop, and SIGKILL ends its grace.
* ``stdout``, ``stderr``: the last part of what the task wrote; ``stdout.1`` is the part before it.
* ``output.json`` or ``error.txt``, which the task has handed over through a pipe. After a timeout,
  the error is the shim's.
* ``exit.json``: the task's exit code. It is written last.

Earlier releases read and wrote the same files, with the task in the attempt's directory itself.
"""

import errno
import json
import math
import os
import select
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import NamedTuple

from trimtab.workflows.definitions.types import MAX_OUTPUT_BYTES
from trimtab.workflows.entrypoint import CODE, ERROR, OUTPUT, RESULT_END
from trimtab_propeller.executors import linux
from trimtab_propeller.executors.confinement import Restriction

WORK = "work"
"""The task's own directory, in that of the attempt."""
STARTED = b"started"
"""The beginning of the report that the attempt is started, before the shim's PID and start time in
one line. The error of a shim that fails afterwards may follow. Any other report begins with the
number of an error."""

_CAPTURE_BYTES = 1024 * 1024
"""The size at which a file of the task's output is put aside. The one before it is dropped."""
_MAX_RESULT_BYTES = MAX_OUTPUT_BYTES + 1024
_READ_BYTES = 64 * 1024
_REPEAT_SECONDS = 0.05
"""How often a stop signals the processes that were forked meanwhile."""
_LONGEST_POLL_SECONDS = 3600.0
"""``poll`` takes no more than 2**31 ms."""
_RECORD_PAUSES = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""The seconds between the tries to write to a disk that is full."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_Handler = Callable[[int, FrameType | None], object] | signal.Handlers
_WAITING = frozenset({signal.SIGCHLD, signal.SIGUSR1})
_BLOCKED = _WAITING | {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
_PYTHON_SIGNALS: dict[int, _Handler] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGPIPE: signal.SIG_IGN,
    signal.SIGXFSZ: signal.SIG_IGN,
}
"""The signals that a new interpreter does not leave at their defaults."""


@dataclass(frozen=True)
class Call:
    """The attempt to run."""

    directory: str
    temporary: str
    """A directory for the task's temporary files. The shim makes it, and removes it at the end."""
    environment: dict[str, str]
    """All variables of the task."""
    program: tuple[str, ...]
    """The command that runs the task in an interpreter of its own, or nothing to fork it."""
    stop_grace_seconds: float
    """How long the task may take to end after SIGTERM."""
    timeout_seconds: float = 0
    """How long the task may run before it is ended, and has failed; 0 is without end."""
    has_bundle: bool = False
    """Whether the task unpacks its code, which is then removed at the end."""


@dataclass(frozen=True)
class Connection:
    """The descriptors that a shim inherits."""

    lock: int
    """A descriptor that holds the lock."""
    report: int
    """A socket on which the propeller learns whether the attempt is started. It ends with the
    shim."""


class Pipe(NamedTuple):
    read: int
    write: int


@dataclass(frozen=True)
class _Pipes:
    stdout: Pipe
    stderr: Pipe
    result: Pipe
    status: Pipe
    """From the guard to the shim: the wait status of the task."""

    def close(self, end: str) -> None:
        for pipe in (self.stdout, self.stderr, self.result, self.status):
            os.close(getattr(pipe, end))


def run(call: Call, connection: Connection, restriction: Restriction) -> int:
    """Run the attempt. Return only in the process of the task: the descriptor for its result."""
    try:
        return _run(call, connection, restriction)
    except BaseException as error:  # noqa: BLE001  # Nothing may return to the fork server's code.
        traceback.print_exc()
        with suppress(OSError):
            number = (error.errno if isinstance(error, OSError) else None) or errno.EIO
            os.write(connection.report, f"{number} {error}".encode()[:_READ_BYTES])
        with suppress(OSError):
            write("defect", traceback.format_exc().encode())
        os._exit(1)


def _run(call: Call, connection: Connection, restriction: Restriction) -> int:
    os.setsid()
    os.chdir(call.directory)
    _redirect_standard_files()
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    _reset_handlers()
    linux.adopt_orphans()
    control = _open_control()
    os.mkdir(call.temporary, 0o700)
    pipes = _Pipes(*(Pipe(*os.pipe()) for _ in range(4)))
    shim = os.getpid()
    start_time = linux.start_time(shim)
    write("started", f"{shim} {linux.pid_namespace()} {start_time}".encode())
    guard = os.fork()
    if guard == 0:
        os.close(control)
        return _guard(call, connection, pipes, shim, restriction)
    pipes.close("write")
    with suppress(OSError):
        os.write(connection.report, STARTED + f" {shim} {start_time}\n".encode())
    _Supervision(pipes, control, guard, call).run()
    # The end is recorded: an interruption of this takes no result away.
    _remove(call.temporary)
    if call.has_bundle:
        _remove(os.path.join(WORK, CODE))
    os._exit(0)


def _redirect_standard_files() -> None:
    """Leave the files of the fork server, whose readers wait for their end."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.close(null)


def _reset_handlers() -> None:
    """Handle every signal as a new interpreter does."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        handler = _PYTHON_SIGNALS.get(number, signal.SIG_DFL)
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)


def _open_control() -> int:
    # An earlier shim may have ended before it wrote `started`.
    with suppress(FileExistsError):
        os.mkfifo("control", 0o600)
    # With both ends open, neither this call waits for a writer nor does a reader meet an end.
    return os.open("control", os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)


def _remove(directory: str) -> None:
    """Remove a directory, as far as that is possible."""
    with suppress(RecursionError):  # A task may have nested directories without limit.
        shutil.rmtree(directory, ignore_errors=True)


def _guard(
    call: Call, connection: Connection, pipes: _Pipes, shim: int, restriction: Restriction
) -> int:
    """Wait for the end of the task or of the shim, and end what is left. Return in the task."""
    # In a group of its own, a signal to the group of the shim does not end both.
    os.setpgid(0, 0)
    if not linux.signal_at_end_of(shim, signal.SIGUSR1):
        os._exit(1)
    linux.adopt_orphans()
    guard = os.getpid()
    task = os.fork()
    if task == 0:
        return _become_task(call, pipes, guard, restriction)
    os.close(connection.report)
    pipes.close("read")
    for pipe in (pipes.stdout, pipes.stderr, pipes.result):
        os.close(pipe.write)
    status = _wait_for(task)
    if status is not None:
        os.write(pipes.status.write, str(status).encode())
    linux.end_descendants()
    if status is None:
        _remove(call.temporary)
    os._exit(0)


def _wait_for(task: int) -> int | None:
    """Return the wait status of the task; ``None`` where the shim has ended before."""
    while True:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == task:
                return ended[1]
        # The signals are blocked, so that one that arrives before this call ends it too.
        if signal.sigwait(_WAITING) == signal.SIGUSR1:
            return None


def _become_task(call: Call, pipes: _Pipes, guard: int, restriction: Restriction) -> int:
    """Leave nothing of the shim to the task. Return the descriptor for its result."""
    if not linux.signal_at_end_of(guard, signal.SIGKILL):
        os._exit(1)
    os.setsid()
    os.dup2(pipes.stdout.write, 1)
    os.dup2(pipes.stderr.write, 2)
    result = os.dup2(pipes.result.write, 3, inheritable=bool(call.program))
    _restrict(restriction, call, result)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    os.chdir(WORK)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if call.program:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execve(call.program[0], (*call.program, str(result)), call.environment)
    os.environ.clear()
    os.environ.update(call.environment)
    time.tzset()
    return result


def _restrict(restriction: Restriction, call: Call, result: int) -> None:
    """Restrict this process, or end it with the reason as its result."""
    try:
        restriction.apply([os.path.join(call.directory, WORK), call.temporary])
    except BaseException as error:  # noqa: BLE001  # No task runs that is not restricted.
        traceback.print_exc()
        os.write(result, ERROR + f"the task cannot be restricted: {error}".encode() + RESULT_END)
        os._exit(1)


class _Supervision:
    """Follows the attempt from the start of its guard to its end, and records it."""

    def __init__(self, pipes: _Pipes, control: int, guard: int, call: Call) -> None:
        self._grace_seconds = call.stop_grace_seconds
        self._timeout_seconds = call.timeout_seconds
        self._deadline = time.monotonic() + (call.timeout_seconds or math.inf)
        self._is_timed_out = False
        self._guard = guard
        self._status = pipes.status.read
        self._result = _Result()
        self._force_at: float | None = None
        """When the grace of a stop or of a timeout is over."""
        self._was_complete = False
        """Whether the task had handed over its result before that began."""
        self._is_term_sent = False
        self._is_guard_gone = False
        wake, write_end = os.pipe()
        for descriptor in (wake, write_end, *(p.read for p in (pipes.stdout, pipes.stderr))):
            os.set_blocking(descriptor, False)
        os.set_blocking(pipes.result.read, False)
        self._readers: dict[int, Callable[[bytes], None]] = {
            pipes.stdout.read: _Capture("stdout").write,
            pipes.stderr.read: _Capture("stderr").write,
            pipes.result.read: self._result.write,
            control: self._on_control,
            wake: self._on_signals,
        }
        self._from_task = (pipes.stdout.read, pipes.stderr.read, pipes.result.read)
        self._poll = select.poll()
        for descriptor in self._readers:
            self._poll.register(descriptor, select.POLLIN)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD, signal.SIGTERM})

    def run(self) -> None:
        """Return when nothing of the attempt runs any more, and its end is recorded."""
        # The guard may have ended, or a stop been requested, before this process had a handler.
        self._reap()
        if os.path.lexists("stop"):
            self._stop()
        while not self._is_guard_gone:
            self._continue_stop()
            for descriptor, _event in self._poll.poll(self._pause_milliseconds()):
                self._read(descriptor)
            if time.monotonic() >= self._deadline:
                self._time_out()
        linux.end_descendants()
        for descriptor in self._from_task:
            while self._read(descriptor):
                pass
        self._record()

    def _pause_milliseconds(self) -> float | None:
        """Return after how long without events there is something to do."""
        if self._force_at is not None:
            return 1000 * _REPEAT_SECONDS
        if self._deadline == math.inf:
            return None
        left = self._deadline - time.monotonic()
        return 1000 * min(max(left, 0.0), _LONGEST_POLL_SECONDS) + 1

    def _read(self, descriptor: int) -> bool:
        """Handle what can be read, and return whether there was anything."""
        if descriptor not in self._readers:
            return False
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            self._readers[descriptor](data)
        else:
            self._poll.unregister(descriptor)
            del self._readers[descriptor]
        return bool(data)

    def _on_control(self, data: bytes) -> None:
        self._stop()
        if signal.SIGKILL in data:
            self._force_at = time.monotonic()

    def _on_signals(self, data: bytes) -> None:
        if signal.SIGTERM in data:
            self._stop()
        self._reap()

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                self._is_guard_gone |= pid == self._guard

    def _stop(self) -> None:
        if self._force_at is not None:
            return
        with suppress(OSError):
            mark_stop(".")
        self._begin_end()

    def _time_out(self) -> None:
        """End the attempt, unless that has begun."""
        self._deadline = math.inf
        if self._force_at is not None:
            return
        # What the task has handed over in time counts, although it has not been read yet.
        for _ in range(_MAX_RESULT_BYTES // _READ_BYTES + 1):
            self._read(self._from_task[-1])
        self._is_timed_out = True
        self._begin_end()

    def _begin_end(self) -> None:
        self._was_complete = self._result.is_complete
        self._force_at = time.monotonic() + self._grace_seconds

    def _continue_stop(self) -> None:
        """Send SIGTERM once there is a process to send it to, and SIGKILL after the grace."""
        if self._force_at is None:
            return
        is_over = time.monotonic() >= self._force_at
        if self._is_term_sent and not is_over:
            return
        number = signal.SIGKILL if is_over else signal.SIGTERM
        for pid in linux.descendants(os.getpid()):
            if pid != self._guard:
                linux.send(pid, number)
                self._is_term_sent = True
            # A process that is suspended handles no SIGTERM, and a guard does not end.
            linux.send(pid, signal.SIGCONT)

    def _record(self) -> None:
        """Record the end. A stopped attempt has one only where its task had ended by itself."""
        status = os.read(self._status, 16)
        code = os.waitstatus_to_exitcode(int(status)) if status else None
        if self._result_counts():
            has_output = self._result.kind == OUTPUT
            _keep_trying("output.json" if has_output else "error.txt", self._result.content)
            _record_code(0 if has_output else code or 1)
        elif self._is_timed_out:
            _keep_trying("error.txt", f"timed out after {self._timeout_seconds:.15g} s".encode())
            _record_code(code or 1)
        elif self._result.is_complete or code is None or self._force_at is not None:
            return
        elif self._result.is_too_long:
            error = f"the output has more than {MAX_OUTPUT_BYTES} bytes"
            _keep_trying("error.txt", error.encode())
            _record_code(code or 1)
        else:
            _record_code(code)

    def _result_counts(self) -> bool:
        """Return whether the task's result is its attempt's: an error because of a stop is not."""
        if not self._result.is_complete or self._force_at is None or self._was_complete:
            return self._result.is_complete
        return self._result.kind == OUTPUT and not self._is_timed_out


class _Result:
    """The result that the task hands over: a byte for its kind, the content, and an end."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.is_too_long = False
        self.is_complete = False

    @property
    def kind(self) -> bytes:
        return bytes(self._data[:1])

    @property
    def content(self) -> bytes:
        return bytes(self._data[1:])

    def write(self, data: bytes) -> None:
        """Add a part. Parts after the end, or after the longest possible content, are dropped."""
        if self.is_complete or self.is_too_long:
            return
        part, end, _rest = data.partition(RESULT_END)
        self._data += part
        self.is_too_long = len(self._data) > _MAX_RESULT_BYTES
        self.is_complete = bool(end) and not self.is_too_long


class _Capture:
    """Keeps the last part of a stream in a file, and the part before it in another one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._file = self._open()
        self._size = 0

    def write(self, data: bytes) -> None:
        # A full disk does not stop the task.
        with suppress(OSError):
            if self._size >= _CAPTURE_BYTES:
                os.close(self._file)
                os.rename(self._name, f"{self._name}.1")
                self._file, self._size = self._open(), 0
            self._size += os.write(self._file, data)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK
        return os.open(self._name, flags, 0o600)


def _record_code(code: int) -> None:
    _keep_trying("exit.json", json.dumps({"code": code}).encode())


def mark_stop(directory: str | os.PathLike[str]) -> None:
    """Record that a stop was requested. Raises `OSError`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    os.close(os.open(os.path.join(directory, "stop"), flags, 0o600))


def _keep_trying(name: str, content: bytes) -> None:
    """Write a file whole, for a while if the disk is full. Raises `OSError`."""
    for pause in _RECORD_PAUSES:
        try:
            write(name, content)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            time.sleep(pause)
        else:
            return
    write(name, content)


def write(name: str, content: bytes) -> None:
    """Write a file whole, or not at all."""
    part = f"{name}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK
    with open(os.open(part, flags, 0o600), "wb") as file:
        file.write(content)
    os.rename(part, name)
