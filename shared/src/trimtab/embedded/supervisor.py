"""Keeps programs running: starts them, waits until they answer, starts them again, ends them."""

import asyncio
import json
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trimtab.embedded import orphans
from trimtab.errors import TrimtabError

START_SECONDS = 60.0
"""For the slowest program on a busy machine; a healthy start takes a few seconds."""
STOP_SECONDS = 15.0
"""More than a service's own grace for what it is handling."""
STEADY_SECONDS = 30.0
"""A program that ran so long has recovered: its next end is not held against it."""
MAX_PAUSE_SECONDS = 10.0
MAX_LOG_BYTES = 10_000_000

_GENERIC = "Application startup failed. Exiting."  # uvicorn, after it has logged why

Say = Callable[[str], None]
"""Takes one line for the person who watches."""


class DidNotStart(TrimtabError):
    """A program ended, or did not answer, before it was ready for the first time."""


@dataclass(frozen=True)
class Probe:
    """A question on a port of loopback, and what a ready program's answer holds."""

    port: int
    question: bytes
    answer: bytes

    async def ask(self) -> bytes:
        """What is answered; empty where nobody listens."""
        try:
            async with asyncio.timeout(2.0):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    writer.write(self.question)
                    return await self._read(reader)
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return b""

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        said = b""
        while self.answer not in said and (more := await reader.read(4096)):
            said += more
        return said


@dataclass(frozen=True)
class Program:
    """What to run, and how to know that it is ready."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    probe: Probe


class _Kept:
    """One program that is kept running."""

    def __init__(self, program: Program, say: Say) -> None:
        self.program = program
        self.was_ready = False
        self._say = say
        self._process: Process | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def keep(self) -> None:
        """Until `stop`. Raises `DidNotStart`, also where it ends before it was ever ready."""
        pause = 0.2
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
                raise DidNotStart(f"{self.program.name} {_how(code)}: {self._last_words()}")
            if time.monotonic() - began > STEADY_SECONDS:
                pause = 0.2
            self._say(f"{self.program.name} {_how(code)}; starting it again in {pause:.1f} s")
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    async def ready(self) -> None:
        """Wait for its first right answer. Raises `DidNotStart`."""
        began, said = time.monotonic(), b""
        while time.monotonic() - began < START_SECONDS:
            said = await self.program.probe.ask()
            if self.program.probe.answer in said:
                self.was_ready = True
                self._say(f"{self.program.name} is ready ({time.monotonic() - began:.1f} s)")
                return
            await asyncio.sleep(0.02)
        answer = said.decode(errors="replace").rpartition("\r\n")[2] or "it does not answer"
        raise DidNotStart(
            f"{self.program.name} is not ready after {START_SECONDS:.0f} s: {answer}; "
            f"its log is {self.program.log}"
        )

    async def stop(self) -> None:
        """In order, and by force after `STOP_SECONDS`."""
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
            orphans.send(self._process.pid, signal.SIGKILL)

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
                # Ctrl-C in the terminal is for us alone: we end the others in order.
                start_new_session=True,
                preexec_fn=orphans.end_with_parent,
            )

    def _last_words(self) -> str:
        lines = self.program.log.read_text(errors="replace").strip().splitlines()
        said = next(filter(None, map(_sentence, reversed(lines))), "it said nothing")
        return f"{said} (its log is {self.program.log})"


async def run(
    stages: Sequence[Sequence[Program]],
    *,
    say: Say,
    ready: Callable[[], None],
    hurry: asyncio.Event,
) -> None:
    """Run programs until cancelled, then end them, the last stage first.

    All start at once, since they wait for each other by themselves; ``ready`` is called when every
    one has answered. What they leave behind of their own children ends too. ``hurry`` ends
    everything by force. Raises `DidNotStart`.
    """
    orphans.adopt()
    kept = [[_Kept(program, say) for program in stage] for stage in stages]
    everyone = [one for stage in kept for one in stage]
    try:
        async with asyncio.TaskGroup() as group:
            for one in everyone:
                group.create_task(one.keep())
            await asyncio.gather(*(one.ready() for one in everyone))
            ready()
            await _bury_orphans(everyone)
    except BaseExceptionGroup as errors:
        for error in errors.exceptions:
            if isinstance(error, DidNotStart):
                raise error from None
        raise
    finally:
        await _stop(kept, hurry)
        await _end_orphans()


async def _stop(stages: Sequence[Sequence[_Kept]], hurry: asyncio.Event) -> None:
    async def force() -> None:
        await hurry.wait()
        for stage in stages:
            for one in stage:
                one.kill()

    forcing = asyncio.create_task(force())
    try:
        for stage in reversed(stages):
            await asyncio.gather(*(one.stop() for one in stage))
    finally:
        forcing.cancel()


async def _bury_orphans(everyone: Sequence[_Kept]) -> None:
    """Let adopted processes that have ended go; our own are waited for by asyncio."""
    before: set[int] = set()
    while True:
        ended = {pid for pid, state in orphans.children().items() if state == "Z"}
        ended -= {one.pid for one in everyone if one.pid is not None}
        # Seen twice, so it is not one of ours between its end and the loop's next turn.
        orphans.bury(ended & before)
        before = ended
        await asyncio.sleep(1.0)


async def _end_orphans() -> None:
    """What the services left behind: tasks that were running."""
    began = time.monotonic()
    while left := orphans.children():
        how = signal.SIGTERM if time.monotonic() - began < 2.0 else signal.SIGKILL
        for pid, state in left.items():
            if state != "Z":
                orphans.send(pid, how)
        orphans.bury({pid for pid, state in left.items() if state == "Z"})
        await asyncio.sleep(0.05)


def _sentence(line: str) -> str:
    """What a line of a log says; empty where it says only that something went wrong before."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line.strip()
    if not isinstance(entry, dict) or entry.get("level") != "ERROR":
        return line
    # Of a traceback, the last line is the error.
    text = str(entry.get("exception") or entry.get("event")).strip()
    said = [part.strip(" |+-") for part in text.splitlines() if part.strip(" |+-")]
    return "" if said[-1:] == [_GENERIC] else said[-1]


def _how(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"
