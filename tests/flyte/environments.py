"""Installs Flyte's own clients, each in a virtual environment, and keeps them in the user's cache.

`make test-flyte` runs this module first.
"""

import hashlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.cache import cached

CLIENTS = Path(__file__).parent / "clients"
"""Has a list of pinned packages for each environment."""


def environment(client: str) -> Path:
    """Return the directory of the programs of a client: ``flytekit``, or ``flyte`` for Flyte 2."""
    pins = CLIENTS / f"{client}.txt"
    version = hashlib.sha256(f"{sys.base_prefix} {sys.version} {pins.read_text()}".encode())

    def install(directory: Path) -> None:
        # It gets its final name after it is complete.
        _uv("venv", "--relocatable", "--python", sys.executable, os.fspath(directory))
        _uv("pip", "install", "--python", os.fspath(directory / "bin/python"), "-r", str(pins))

    return cached(f"{client}-{version.hexdigest()[:16]}", install) / "bin"


def _uv(*arguments: str) -> None:
    """Run uv, which installs in seconds what pip needs minutes for."""
    command = [os.fspath(Path(sysconfig.get_path("scripts")) / "uv"), "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    for client in ("flytekit", "flyte"):
        print(environment(client))
