"""The command line in a terminal, whose user writes given answers."""

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

TRIMTAB = Path(sys.executable).with_name("trimtab")
END = "\x04"
"""The end of the input, as Control-D writes it."""


def run_in_terminal(
    answers: str, *arguments: str, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Return the exit code and what the terminal shows."""
    master, slave = pty.openpty()
    with os.fdopen(master, "r+b", buffering=0) as terminal:
        process = subprocess.Popen(
            [TRIMTAB, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "NO_COLOR": "1", **(env or {})},
        )
        os.close(slave)
        terminal.write(answers.encode())
        output = b""
        try:
            while part := terminal.read(4096):
                output += part
        except OSError:
            pass  # Linux reports the end of a terminal so.
        code = process.wait()
    return code, output.decode().replace("\r\n", "\n")
