"""``trimtab status`` and ``trimtab version``."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.integration.cli.conftest import Trimtab
from tests.servers import free_port
from trimtab.cli.main import cli
from trimtab.embedded.directory import Directory
from trimtab.release import VERSION

SERVICES = ["admin", "clusterres", "propeller", "resmgr"]
DOORS = ["grpc", "rest", "connect"]
NAMES = ["admin", *DOORS, *SERVICES[1:], "NATS", "Valkey", "database"]


def parts(done: Result) -> dict[str, dict[str, Any]]:
    return {part["name"]: part for part in json.loads(done.stdout)}


def states(found: dict[str, dict[str, Any]], names: Sequence[str] = NAMES) -> set[str]:
    return {found[name]["state"] for name in names}


def test_every_part_of_an_embedded_system_is_shown(trimtab: Trimtab, data: Path) -> None:
    done = trimtab("status", "-o", "json")
    assert done.exit_code == 0, done.output
    found = parts(done)
    assert list(found) == NAMES
    assert states(found) == {"ready"}
    ports = Directory(data).ports()
    assert found["admin"]["address"] == Directory(data).url()
    assert found["propeller"]["address"] == f"127.0.0.1:{ports['propeller']}"
    assert found["database"]["address"] == f"sqlite:///{Directory(data).database}"
    assert [found[name]["version"] for name in SERVICES] == [VERSION] * 4
    assert found["propeller"]["requests"] == 0
    assert found["grpc"]["address"].startswith("grpc://127.0.0.1:")
    assert found["rest"]["address"] == Directory(data).url()
    assert {found[name]["anonymous"] for name in DOORS} == {""}
    table = trimtab("status").stdout.splitlines()
    assert [line.split()[0] for line in table] == ["NAME", *NAMES]


def test_the_status_has_no_password(trimtab: Trimtab, data: Path) -> None:
    address = str(Directory(data).url()).replace("://", "://ci:hidden@")
    token = Directory(data).api_token()
    password = Directory(data).nats_file.read_text().partition("@")[0].rpartition(":")[2]
    for server in (address, "http://ci:hidden@127.0.0.1:1"):
        for words in (("status",), ("version",), ("status", "-o", "yaml")):
            shown = trimtab(*words, "--server", server, env={"TRIMTAB_TOKEN": token}).output
            assert not [secret for secret in ("hidden", token, password) if secret in shown]


@pytest.fixture
def without_propeller(data: Path, tmp_path: Path) -> Path:
    """Return a data directory that names a propeller which does not respond."""
    running = Directory(data)
    directory = Directory(tmp_path)
    directory.token_file.write_text(running.api_token())
    ports = {**running.ports(), "propeller": free_port()}
    directory.write_address(str(running.url()), "", ports)
    return tmp_path


def test_a_service_that_does_not_respond_is_an_error(
    trimtab: Trimtab, without_propeller: Path
) -> None:
    done = trimtab("status", "-o", "json", "--data", str(without_propeller))
    assert (done.exit_code, done.stderr) == (1, "Error: propeller is unreachable\n")
    found = parts(done)
    assert found["propeller"]["state"] == "unreachable"
    assert states(found, [name for name in NAMES if name != "propeller"]) == {"ready"}


def test_of_another_installation_the_parts_that_admin_uses_are_known(data: Path) -> None:
    directory = Directory(data)
    variables = {"TRIMTAB_CONFIG": os.devnull, "TRIMTAB_TOKEN": directory.api_token()}
    words = ["status", "-o", "json", "--server", str(directory.url()), "--data", "nowhere"]
    done = CliRunner(env=variables).invoke(cli, words)
    assert done.exit_code == 0, done.output
    found = parts(done)
    assert states(found, ["admin", "NATS", "database"]) == {"ready"}
    assert states(found, ["clusterres", "propeller", "resmgr", "Valkey"]) == {"unknown"}


def test_without_a_right_token_the_health_of_admin_is_shown(data: Path) -> None:
    variables = {"TRIMTAB_CONFIG": os.devnull, "TRIMTAB_TOKEN": "wrong"}
    words = ["status", "-o", "json", "--server", str(Directory(data).url())]
    done = CliRunner(env=variables).invoke(cli, words)
    assert parts(done)["admin"]["state"] == "ready"
    assert "warning: lag and servers are not shown: " in done.stderr


def test_a_server_that_does_not_respond_is_an_error(trimtab: Trimtab) -> None:
    done = trimtab("status", "--server", "http://127.0.0.1:1")
    assert done.exit_code == 7
    assert done.stdout.splitlines()[1].split()[:2] == ["admin", "unreachable"]


def test_the_versions_of_command_line_and_server_are_shown(trimtab: Trimtab, data: Path) -> None:
    url = Directory(data).url()
    assert trimtab("version").stdout == f"trimtab {VERSION}\nserver  {VERSION} ({url})\n"
    body = {"cli": VERSION, "server": {"url": url, "version": VERSION, "error": ""}}
    assert json.loads(trimtab("version", "-o", "json").stdout) == body
    assert trimtab("--version").stdout == f"trimtab {VERSION}\n"


def test_the_version_is_shown_without_a_server(trimtab: Trimtab) -> None:
    for server in ("http://127.0.0.1:1", "http://127.0.0.1:2"):
        done = trimtab("version", "--server", server)
        assert (done.exit_code, done.stdout) == (
            0,
            f"trimtab {VERSION}\nserver  no Trimtab responds at {server}\n",
        )
    nowhere = trimtab("version", "--data", "nowhere")
    assert nowhere.exit_code == 0
    assert "\nserver  no Trimtab runs on the data directory nowhere" in nowhere.stdout
