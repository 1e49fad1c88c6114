"""Processes that end with the block that started them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T", str, bytes)


@contextmanager
def ended(process: subprocess.Popen[T]) -> Iterator[subprocess.Popen[T]]:
    """Kill the process, unless it has ended, when the block is left; also by an exception."""
    with process:
        try:
            yield process
        finally:
            process.kill()
