"""The programs of deploy/: the health check of the images, and the secrets of compose.yaml."""

import importlib.util
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from tests.servers import PATIENCE_SECONDS, free_port

DEPLOY = Path(__file__).parents[2] / "deploy"


@contextmanager
def responding(status: int) -> Iterator[int]:
    """Yield the port of a service whose ``/readyz`` has this status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()
            self.wfile.write(b'{"reasons": {"nats": "not connected"}}')

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            serving.join()


def health(port: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(DEPLOY / "healthcheck.py")]
    environment = {"TRIMTAB_PORT": str(port)}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_a_container_is_healthy_where_its_service_is_ready(status: int, code: int) -> None:
    with responding(status) as port:
        done = health(port)
    assert (done.returncode, done.stdout) == (code, '{"reasons": {"nats": "not connected"}}')


def test_a_container_without_a_server_is_not_healthy() -> None:
    assert health(free_port()).returncode == 1


@pytest.fixture
def secrets(tmp_path: Path) -> ModuleType:
    """The program that writes the secrets, with its volumes in a directory of the test."""
    spec = importlib.util.spec_from_file_location("secrets_program", DEPLOY / "compose/secrets.py")
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    program.ROOT = tmp_path
    for volume in {"values", *(name.split("/")[0] for f in program.FILES.values() for name in f)}:
        (tmp_path / volume).mkdir()
    return program


def contents(directory: Path) -> dict[str, str]:
    files = (file for file in directory.rglob("*") if file.is_file())
    return {str(file.relative_to(directory)): file.read_text() for file in files}


def test_secrets_are_generated_once_and_each_container_has_its_own(
    tmp_path: Path, secrets: ModuleType
) -> None:
    secrets.main()
    written = contents(tmp_path)
    nats, database = written["values/nats"], written["values/postgres"]
    assert written["nats/password.conf"] == f'PASSWORD: "{nats}"\n'
    assert written["propeller/trimtab_nats_password"] == nats
    assert f"trimtab:{database}@postgres" in written["admin/trimtab_database_url"]
    assert len({written[f"values/{name}"] for name in secrets.FILES}) == len(secrets.FILES)
    secrets.main()
    assert contents(tmp_path) == written


def test_secrets_are_complete_after_the_program_was_killed(
    tmp_path: Path, secrets: ModuleType
) -> None:
    secrets.main()
    written = contents(tmp_path)
    for name in ("admin/api_token", "nats/password.conf"):
        (tmp_path / name).unlink()
    # A part that is left behind is replaced and not written to.
    left = tmp_path / "admin/.api_token"
    left.touch(mode=0o444)
    with left.open() as opened:
        secrets.main()
        assert not opened.read()
    assert contents(tmp_path) == written
