"""The server that a command calls, and the errors for a wrong one."""

import http.server
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.servers import free_port
from trimtab.cli.main import cli
from trimtab.embedded.directory import Directory


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner(env={"TRIMTAB_CONFIG": os.devnull, **environment}).invoke(cli, arguments)


class FailingHandler(http.server.BaseHTTPRequestHandler):
    """Responds as admin does where it fails unexpectedly."""

    def do_GET(self) -> None:
        self.send_response(500)
        self.send_header("Content-Type", "application/problem+json")
        self.end_headers()
        detail = "GET /api/v2/domains failed unexpectedly; the request id is r-1"
        problem = {"title": "Internal Server Error", "status": 500, "detail": detail}
        self.wfile.write(json.dumps(problem).encode())

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class ForeignHandler(http.server.BaseHTTPRequestHandler):
    """Responds with HTML, and records the credentials of each request."""

    authorizations: list[str | None] = []

    def do_GET(self) -> None:
        self.authorizations.append(self.headers["Authorization"])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def foreign() -> Iterator[str]:
    """Start a server that is not Trimtab, and return its URL."""
    ForeignHandler.authorizations.clear()
    with serving(ForeignHandler) as url:
        yield url


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_data_directory_selects_server_and_token(data: Path) -> None:
    assert run("get", "domains", "--data", str(data)).exit_code == 0
    assert run("get", "domains", TRIMTAB_DATA=str(data)).exit_code == 0


def test_flags_and_environment_select_server_and_token(data: Path) -> None:
    directory = Directory(data)
    url, token = str(directory.url()), directory.api_token()
    assert run("get", "domains", "--server", url + "/", TRIMTAB_TOKEN=token).exit_code == 0
    assert run("get", "domains", TRIMTAB_SERVER=url, TRIMTAB_TOKEN=token).exit_code == 0


def test_the_token_that_would_be_sent_is_printed_alone(data: Path) -> None:
    directory = Directory(data)
    own = directory.api_token()
    assert run("token", "print", "--data", str(data)).stdout == f"{own}\n"
    assert run("token", "print", TRIMTAB_TOKEN="given").stdout == "given\n"
    other = run("token", "print", "--server", "https://trimtab.example.org", TRIMTAB_DATA=str(data))
    assert (other.exit_code, other.stdout) == (6, "")
    assert "TRIMTAB_TOKEN" in other.stderr


def test_a_wrong_token_is_rejected_in_one_line(data: Path) -> None:
    done = run("get", "domains", "--data", str(data), TRIMTAB_TOKEN="guessed")
    assert (done.exit_code, done.stderr.count("\n")) == (6, 1)
    assert "token" in done.stderr


def test_the_error_for_a_closed_port_has_the_address_and_the_next_step() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run("get", "domains", "--server", url)
    assert done.exit_code == 7
    assert done.stderr.startswith(f"Error: no Trimtab responds at {url} (")
    assert "start one with `trimtab up`" in done.stderr


def test_the_failure_of_a_server_is_not_the_absence_of_one() -> None:
    with serving(FailingHandler) as url:
        done = run("get", "domains", "--server", url)
    assert done.exit_code == 1
    assert done.stderr == (
        "Error: GET /api/v2/domains failed unexpectedly; the request id is r-1\n"
    )


def test_the_error_for_a_malformed_url_has_the_url() -> None:
    done = run("get", "domains", "--server", "nonsense")
    assert (done.exit_code, "server: 'nonsense' is not valid" in done.stderr) == (2, True)


class LinesHandler(http.server.BaseHTTPRequestHandler):
    """Streams lines that are not Trimtab's."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(b'data: {"kind": 1}\n')

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.mark.parametrize("command", ["export -", "watch"])
def test_a_stream_that_is_not_trimtabs_is_reported(command: str) -> None:
    with serving(LinesHandler) as url:
        done = run(*command.split(), "--server", url)
    assert (done.exit_code, f"the response of {url}/api/v2/" in done.stderr) == (7, True)


def test_a_server_that_is_not_trimtab_is_reported_and_gets_no_token(
    data: Path, foreign: str
) -> None:
    done = run("get", "domains", "--server", foreign, "--data", str(data))
    assert done.exit_code == 7
    assert f"the response of {foreign}/api/v2/domains (status 200) is not Trimtab's" in done.stderr
    assert ForeignHandler.authorizations == [None]
