"""Keeps files and directories that take long to make in the user's cache, for later runs."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """Return the file or directory of that name; where it is absent, make it at another path first.

    Each version needs a name of its own.
    """
    path = _directory() / name
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{path}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of the tests may be making it
        if not path.exists():
            began = time.monotonic()
            print(f"Making {path}", flush=True)
            unfinished = Path(f"{path}.new")
            shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
            make(unfinished)
            unfinished.rename(path)
            print(f"It took {time.monotonic() - began:.0f} s", flush=True)
    return path


def _directory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trimtab"
