"""admin as a process with a database of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.processes import ended
from tests.servers import PATIENCE_SECONDS, free_port

TOKEN = "t0ken"


@contextmanager
def admin_process(
    directory: Path, nats_url: str, variables: Mapping[str, str] = os.environ
) -> Iterator[str]:
    """Run admin and yield its address once it is ready."""
    (directory / "token").write_text(TOKEN)
    port = free_port()
    own = {
        "TRIMTAB_NATS_URL": nats_url,
        "TRIMTAB_DATABASE_URL": f"sqlite+aiosqlite:///{directory / 'admin.db'}",
        "TRIMTAB_TOKEN_FILE": str(directory / "token"),
        "TRIMTAB_PORT": str(port),
    }
    command = [sys.executable, "-m", "trimtab_admin"]
    with ended(subprocess.Popen(command, env={**variables, **own})) as admin:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, admin)
        yield url
        admin.terminate()
        assert admin.wait(PATIENCE_SECONDS) == 0


def _wait_for(url: str, admin: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while admin.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz", timeout=PATIENCE_SECONDS).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"admin at {url} is not ready")
