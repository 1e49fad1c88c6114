"""`trimtab up` as a process."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.servers import PATIENCE_SECONDS as SECONDS

TRIMTAB = str(Path(sys.executable).with_name("trimtab"))


class Up:
    """One process of `trimtab up`."""

    def __init__(self, data: Path, *options: str, program: Sequence[str] = (TRIMTAB,)) -> None:
        self.data = data
        self.lines: list[str] = []
        self._program = program
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read)

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    def begin(self) -> None:
        """Start the process without waiting until it is ready."""
        self._process = subprocess.Popen(
            [*self._program, "up", "--data", str(self.data), *self._options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader.start()

    def stop(self) -> int:
        """Stop the process as Ctrl-C does, and return its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(SECONDS)

    def wait_for_line(self, words: str) -> str:
        """Wait for a line with these words and return it."""
        eventually(lambda: any(words in line for line in self.lines) or self._ended)
        found = [line for line in self.lines if words in line]
        assert found, self.lines
        return found[-1]

    def running(self) -> dict[str, int]:
        """Return the ids of the processes that it has started, by the name of the program."""
        parent = str(self.process.pid)
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                words = (entry / "cmdline").read_text().split("\0")
            except OSError:
                continue
            # Between its fork and its exec, a process may have no command line.
            if stat[1] == parent and stat[0] != "Z" and words[0]:
                named = [word.removeprefix("trimtab_") for word in words if "trimtab_" in word]
                found[named[0] if named else Path(words[0].split()[0]).name] = int(entry.name)
        return found

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Start the process; it has ended when the block is left."""
        self.begin()
        try:
            yield
        finally:
            if not self._ended:
                self.stop()
            self._reader.join(SECONDS)

    @contextmanager
    def ready(self) -> Iterator[Self]:
        """Start the process, and enter the block when all programs are ready."""
        with self.begun():
            self.wait_for_line("Trimtab is up")
            yield self

    @property
    def _ended(self) -> bool:
        return self.process.poll() is not None

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.lines.append(line.rstrip("\n"))


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def left_over(data: Path) -> list[str]:
    """Return the processes whose command or environment names the directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            texts = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:
            continue
        if entry.name != str(os.getpid()) and any(os.fsencode(data) in text for text in texts):
            found.append(texts[0].replace(b"\0", b" ").decode())
    return found
