"""The supervisor of programs: starts them, waits until they are ready, restarts and ends them.

On Linux the kernel kills the programs when their supervisor ends, and hands it the processes whose
own parents end. Elsewhere the supervisor does without either.
"""

import asyncio
import ctypes
import json
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trimtab.errors import TrimtabError
from trimtab.runtime.retrying import backoff_seconds

START_SECONDS = 60.0
"""The time for the slowest program on a busy machine; usually a start takes a few seconds."""
STOP_SECONDS = 15.0
"""More than the grace that a service gives to the requests that it is handling."""
STEADY_SECONDS = 30.0
"""After a program that ran for so long, the delays of restarts begin with the first one again."""
FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 10.0
MAX_LOG_BYTES = 10_000_000

_STARTUP_FAILED = "Application startup failed. Exiting."  # uvicorn's, after it has logged the error

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36

# Loaded before any fork: between fork and exec a child must not take locks of the loader.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

Report = Callable[[str], None]
"""Receives a line for the terminal."""


class DidNotStart(TrimtabError):
    """A program ended, or was not ready in time, before it was ready for the first time."""


@dataclass(frozen=True)
class Probe:
    """A request to a port of loopback, and the bytes that a ready program's response contains."""

    port: int
    request: bytes
    response: bytes

    async def send(self) -> bytes:
        """Return the response up to the expected bytes; empty where no program listens."""
        try:
            async with asyncio.timeout(2.0):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    writer.write(self.request)
                    return await self._read(reader)
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return b""

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        received = b""
        while self.response not in received and (more := await reader.read(4096)):
            received += more
        return received


@dataclass(frozen=True)
class Program:
    """A command with its environment, its log, and the probe that shows that it is ready."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    probe: Probe


class _SupervisedProgram:
    """One program, restarted whenever it ends."""

    def __init__(self, program: Program, report: Report) -> None:
        self.program = program
        self.was_ready = False
        self._report = report
        self._process: Process | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def run(self) -> None:
        """Run the program until `stop`. Raises `DidNotStart` where it ends before it was ready."""
        failures = 0
        while not self._stopping:
            began = time.monotonic()
            try:
                self._process = await self._start()
            except OSError as error:
                raise DidNotStart(f"{self.program.name} cannot be started: {error}") from error
            code = await self._process.wait()
            if self._stopping:
                return
            if not self.was_ready:
                end = f"{self.program.name} {_describe_exit(code)}"
                raise DidNotStart(f"{end}: {self._last_error()}")
            failures = 1 if time.monotonic() - began > STEADY_SECONDS else failures + 1
            delay = backoff_seconds(
                failures, first=FIRST_DELAY_SECONDS, longest=LONGEST_DELAY_SECONDS
            )
            self._report(
                f"{self.program.name} {_describe_exit(code)}; starting it again in {delay:.1f} s"
            )
            await asyncio.sleep(delay)

    async def wait_until_ready(self) -> None:
        """Wait for the first response that the probe expects. Raises `DidNotStart`."""
        began, received = time.monotonic(), b""
        while time.monotonic() - began < START_SECONDS:
            received = await self.program.probe.send()
            if self.program.probe.response in received:
                self.was_ready = True
                self._report(f"{self.program.name} is ready ({time.monotonic() - began:.1f} s)")
                return
            await asyncio.sleep(0.02)
        response = received.decode(errors="replace").rpartition("\r\n")[2] or "it does not respond"
        raise DidNotStart(
            f"{self.program.name} is not ready after {START_SECONDS:.0f} s: {response}; "
            f"its log is {self.program.log}"
        )

    async def stop(self) -> None:
        """Terminate the program, and kill it after `STOP_SECONDS`."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            self.kill()
            await process.wait()

    def kill(self) -> None:
        self._stopping = True
        if self._process is not None and self._process.returncode is None:
            _send_signal(self._process.pid, signal.SIGKILL)

    async def _start(self) -> Process:
        log = self.program.log
        if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *self.program.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.program.environment,
                # Ctrl-C in the terminal must reach the supervisor only, which ends the programs.
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def _last_error(self) -> str:
        lines = self.program.log.read_text(errors="replace").strip().splitlines()
        error = next(filter(None, map(_error_in, reversed(lines))), "it logged nothing")
        return f"{error} (its log is {self.program.log})"


async def run(
    stages: Sequence[Sequence[Program]],
    *,
    report: Report,
    ready: Callable[[], None],
    force: asyncio.Event,
) -> None:
    """Run programs until cancelled, then stop them, the last stage first.

    All start at once, because each waits for those that it needs; ``ready`` is called when all are
    ready. Processes that the programs leave behind end too. Setting ``force`` kills everything that
    is still running during the stop. Raises `DidNotStart`.
    """
    _adopt_orphans()
    supervised = [[_SupervisedProgram(program, report) for program in stage] for stage in stages]
    programs = [program for stage in supervised for program in stage]
    try:
        async with asyncio.TaskGroup() as group:
            for program in programs:
                group.create_task(program.run())
            await asyncio.gather(*(program.wait_until_ready() for program in programs))
            ready()
            await _reap_orphans(programs)
    except BaseExceptionGroup as errors:
        for error in errors.exceptions:
            if isinstance(error, DidNotStart):
                raise error from None
        raise
    finally:
        await _stop(supervised, force)
        await _end_orphans()


async def _stop(stages: Sequence[Sequence[_SupervisedProgram]], force: asyncio.Event) -> None:
    async def kill_when_forced() -> None:
        await force.wait()
        for stage in stages:
            for program in stage:
                program.kill()

    forcing = asyncio.create_task(kill_when_forced())
    try:
        for stage in reversed(stages):
            await asyncio.gather(*(program.stop() for program in stage))
    finally:
        forcing.cancel()


async def _reap_orphans(programs: Sequence[_SupervisedProgram]) -> None:
    """Reap adopted processes that have ended; asyncio reaps the programs."""
    ended_before: set[int] = set()
    while True:
        ended = {pid for pid, state in _children().items() if state == "Z"}
        ended -= {program.pid for program in programs if program.pid is not None}
        # A process in two rounds is not a program whose end the loop has yet to handle.
        _reap(ended & ended_before)
        ended_before = ended
        await asyncio.sleep(1.0)


async def _end_orphans() -> None:
    """End the processes that the services left behind: running tasks."""
    began = time.monotonic()
    while left := _children():
        number = signal.SIGTERM if time.monotonic() - began < 2.0 else signal.SIGKILL
        for pid, state in left.items():
            if state != "Z":
                _send_signal(pid, number)
        _reap({pid for pid, state in left.items() if state == "Z"})
        await asyncio.sleep(0.05)


def _error_in(line: str) -> str:
    """Return the error in a line of a log; empty where the line only repeats that there was one."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line.strip()
    if not isinstance(entry, dict) or entry.get("level") != "ERROR":
        return line
    # The last line of a traceback is the error.
    text = str(entry.get("exception") or entry.get("event")).strip()
    lines = [part.strip(" |+-") for part in text.splitlines() if part.strip(" |+-")]
    return "" if lines[-1:] == [_STARTUP_FAILED] else lines[-1]


def _describe_exit(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def _end_with_parent() -> None:
    """Have the kernel kill the calling child when its parent ends. Called before its exec."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _adopt_orphans() -> None:
    """Become the parent of each descendant whose own parent ends.

    Tasks run in sessions of their own and outlive the service that started them; without this,
    the supervisor could not find them when it stops.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _children() -> dict[int, str]:
    """Return the child processes and their states as in ``/proc/<pid>/stat``; ``Z`` has ended."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name, in parentheses, may contain any character.
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid():
                found[int(entry.parent.name)] = state
    return found


def _reap(ended: set[int]) -> None:
    for pid in ended:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _send_signal(pid: int, number: signal.Signals) -> None:
    """Signal a process, and its group where it leads one."""
    with suppress(ProcessLookupError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
