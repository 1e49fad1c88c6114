"""No error has an API token or a password, however it is given and whatever fails."""

import http.server
import json
import os
import shlex
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Template

import pytest
from click.testing import CliRunner, Result

from tests.integration.cli.test_hostile_text import EXAMPLES, VALUES
from tests.servers import PATIENCE_SECONDS, free_port
from trimtab.cli.main import cli
from trimtab.client import http as client_http
from trimtab.embedded.directory import Directory

CANARY = "canary-7f3a"
Handler = http.server.BaseHTTPRequestHandler
Given = Callable[[str, Path, str], tuple[Mapping[str, str | None], list[str]]]


def status(number: int) -> Callable[[Handler], None]:
    body = json.dumps({"title": "x", "status": number, "detail": "refused"})
    return lambda handler: answer(handler, number, body)


def answer(handler: Handler, number: int, body: str, **headers: str) -> None:
    handler.send_response(number)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body.encode())


def cut(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def wait(handler: Handler) -> None:
    handler.rfile.read(1)


FAILURES: Mapping[str, Callable[[Handler], None]] = {
    **{str(number): status(number) for number in (400, 401, 403, 404, 409, 410, 412, 428, 429)},
    **{str(number): status(number) for number in (418, 500, 502, 503)},
    "HTML": lambda handler: answer(handler, 200, "<html>", **{"Content-Type": "text/html"}),
    "HTML of a proxy": lambda handler: answer(handler, 502, "<html>"),
    "wrong JSON": lambda handler: answer(handler, 200, '[{"name": 1}]'),
    "cut": cut,
    "timeout": wait,
}
GIVEN: Mapping[str, Given] = {
    "variable": lambda host, _path, token: (
        {"TRIMTAB_SERVER": f"http://{host}", "TRIMTAB_TOKEN": token},
        [],
    ),
    "flag": lambda host, _path, token: (
        {"TRIMTAB_SERVER": f"http://{host}"},
        ["--token", token],
    ),
    "token_file": lambda host, path, token: (configured(path, f"http://{host}", token), []),
    "data directory": lambda host, path, token: (own(path, f"http://{host}", token), []),
    "URL by flag": lambda host, _path, token: ({}, ["--server", f"http://user:{token}@{host}"]),
    "URL by variable": lambda host, _path, token: (
        {"TRIMTAB_SERVER": f"http://{token}@{host}"},
        [],
    ),
    "URL of the configuration": lambda host, path, token: (
        configured(path, f"http://user:{token}@{host}", "x"),
        [],
    ),
    "URL with TLS": lambda host, _path, token: (
        {"TRIMTAB_SERVER": f"https://user:{token}@{host}"},
        [],
    ),
    "URL and token": lambda host, _path, token: (
        {"TRIMTAB_SERVER": f"http://user:{token}@{host}", "TRIMTAB_TOKEN": token},
        [],
    ),
    "URL of another scheme": lambda host, _path, token: (
        {"TRIMTAB_SERVER": f"ftp://user:{token}@{host}"},
        [],
    ),
    "URL without a scheme": lambda host, _path, token: (
        {"TRIMTAB_SERVER": f"user:{token}@{host}"},
        [],
    ),
    "URL with a wrong port": lambda _host, _path, token: (
        {"TRIMTAB_SERVER": f"http://user:{token}@127.0.0.1:x"},
        [],
    ),
}


def configured(path: Path, server: str, token: str) -> Mapping[str, str | None]:
    (path / "token").write_bytes(token.encode())
    (path / "config.yaml").write_text(f"server: {json.dumps(server)}\ntoken_file: token\n")
    return {"TRIMTAB_CONFIG": str(path / "config.yaml")}


def own(path: Path, server: str, token: str) -> Mapping[str, str | None]:
    directory = Directory(path)
    directory.address_file.write_text(json.dumps({"url": server}))
    directory.token_file.write_bytes(token.encode())
    return {"TRIMTAB_DATA": str(path)}


@contextmanager
def serving(respond: Callable[[Handler], None]) -> Iterator[str]:
    """Serve each request by the function, and return the host and port."""

    class Responding(Handler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def respond(self) -> None:
            respond(self)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = respond

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Responding)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(given: tuple[Mapping[str, str | None], list[str]], *arguments: str) -> Result:
    """Run a command; its output has no canary, and it does not end with a traceback."""
    environment, options = given
    variables = {"TRIMTAB_CONFIG": os.devnull, **environment}
    done = CliRunner(env=variables).invoke(cli, [*arguments, *options], prog_name="trimtab")
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert CANARY not in done.output
    return done


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_no_failure_shows_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Callable[[Handler], None],
    given: Given,
) -> None:
    monkeypatch.setattr(client_http, "TIMEOUT_SECONDS", PATIENCE_SECONDS)
    if failure is wait:
        monkeypatch.setattr(client_http, "TIMEOUT_SECONDS", 0.1)
    with serving(failure) as host:
        assert run(given(host, tmp_path, CANARY), "get", "domains").exit_code != 0


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_a_closed_port_does_not_show_it(tmp_path: Path, given: Given) -> None:
    done = run(given(f"127.0.0.1:{free_port()}", tmp_path, CANARY), "get", "domains")
    assert done.exit_code != 0


@pytest.mark.parametrize("example", [one for one in EXAMPLES if one != "trimtab token print"])
@pytest.mark.parametrize("failure", ["401", "500", "HTML"])
def test_no_other_command_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str, example: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(Template(example).substitute(VALUES))[1:]
    with serving(FAILURES[failure]) as host:
        run(GIVEN["variable"](host, tmp_path, CANARY), *words)


@pytest.mark.parametrize(
    ("end", "character"),
    [
        ("\r", "a carriage return"),
        ("\nx", "a line break"),
        (" x", "a blank"),
        ("ü", "the character U+00FC"),
        ("\x1b", "the character U+001B"),
        ("\ufeff", "the character U+FEFF"),
    ],
)
@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("variable", "TRIMTAB_TOKEN"),
        ("flag", "--token"),
        ("token_file", "token_file {path}/token"),
        ("data directory", "{path}/token"),
    ],
)
def test_a_token_that_no_header_can_carry_is_refused_by_its_source(
    tmp_path: Path, name: str, source: str, end: str, character: str
) -> None:
    # The end of a file is no part of a token.
    token = f"{CANARY}{end}{CANARY}"
    requests: list[str] = []
    with serving(lambda handler: requests.append(handler.path)) as host:
        done = run(GIVEN[name](host, tmp_path, token), "get", "domains")
    assert done.exit_code == 1
    assert f"the API token of {source.format(path=tmp_path)} cannot be sent" in done.stderr
    assert f"it has {character} at position {len(CANARY) + 1} " in done.stderr
    assert requests == []


def test_a_redirect_does_not_carry_it_to_another_host(tmp_path: Path) -> None:
    requests: list[str] = []
    with serving(lambda handler: requests.append(handler.path)) as other:

        def redirect(handler: Handler) -> None:
            answer(handler, 302, "", Location=f"http://{other}/api/v2/domains")

        with serving(redirect) as host:
            done = run(GIVEN["variable"](host, tmp_path, CANARY), "get", "domains")
    assert (done.exit_code, requests) == (7, [])


@pytest.mark.parametrize(
    "text",
    [
        f"token: {CANARY}\n",
        f"servr: http://user:{CANARY}@host\n",
        f"contexts: {{a: {{server: 'http://user:{CANARY}@h', token: {CANARY}}}}}\n",
    ],
)
def test_an_error_of_the_configuration_does_not_show_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    done = run(({"TRIMTAB_CONFIG": str(tmp_path / "config.yaml")}, []), "get", "domains")
    assert done.exit_code != 0


def test_a_login_of_the_url_is_sent_without_a_token(tmp_path: Path) -> None:
    logins: list[str | None] = []

    def record(handler: Handler) -> None:
        logins.append(handler.headers["Authorization"])
        answer(handler, 200, "[]")

    with serving(record) as host:
        assert run(GIVEN["URL by flag"](host, tmp_path, CANARY), "get", "domains").exit_code == 0
    assert str(logins[0]).startswith("Basic ")
