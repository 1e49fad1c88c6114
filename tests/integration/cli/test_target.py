"""Which installation a command talks to, and what it says where that does not work."""

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.servers import free_port
from trimtab.cli.main import cli
from trimtab.embedded.directory import Directory


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner(env={"TRIMTAB_CONFIG": os.devnull, **environment}).invoke(cli, arguments)


class Foreign(http.server.BaseHTTPRequestHandler):
    """Answers as no Trimtab does, and remembers who asked."""

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
    server = http.server.HTTPServer(("127.0.0.1", 0), Foreign)
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_data_directory_names_server_and_token(data: Path) -> None:
    assert run("get", "domains", "--data", str(data)).exit_code == 0
    assert run("get", "domains", TRIMTAB_DATA=str(data)).exit_code == 0


def test_a_server_and_its_token_can_be_named(data: Path) -> None:
    directory = Directory(data)
    url, token = str(directory.url()), directory.token()
    assert run("get", "domains", "--server", url + "/", TRIMTAB_TOKEN=token).exit_code == 0
    assert run("get", "domains", TRIMTAB_SERVER=url, TRIMTAB_TOKEN=token).exit_code == 0


def test_a_wrong_token_is_told(data: Path) -> None:
    done = run("get", "domains", "--data", str(data), TRIMTAB_TOKEN="guessed")
    assert (done.exit_code, done.stderr.count("\n")) == (6, 1)
    assert "token" in done.stderr


def test_where_nobody_listens_the_address_and_the_next_step_are_told() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run("get", "domains", "--server", url)
    assert done.exit_code == 7
    assert done.stderr.startswith(f"Error: no Trimtab answers at {url} (")
    assert "start one with `trimtab up`" in done.stderr


def test_what_is_no_url_is_told() -> None:
    done = run("get", "domains", "--server", "nonsense")
    assert (done.exit_code, "no Trimtab answers at nonsense" in done.stderr) == (7, True)


def test_another_server_is_told_apart_and_gets_no_token(data: Path, foreign: str) -> None:
    done = run("get", "domains", "--server", foreign, "--data", str(data))
    assert done.exit_code == 7
    assert f"what {foreign}/api/v2/domains answers (status 200) is not Trimtab's" in done.stderr
    assert Foreign.authorizations == [None]
