"""Precedence of flags, environment variables, the configuration file and the data directory."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Trimtab
from trimtab.embedded.directory import Directory

CLOSED = "http://127.0.0.1:1"
PRIORITY = "workflow-priority"

Configured = Callable[[str], dict[str, str | None]]


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    """Return a function that writes the file, and returns the environment that selects it."""

    def write(content: str) -> dict[str, str | None]:
        file = tmp_path / "config.yaml"
        file.write_text(content)
        return {"TRIMTAB_CONFIG": str(file), "TRIMTAB_DATA": None}

    return write


@pytest.fixture
def server(data: Path, tmp_path: Path) -> str:
    """Return the lines of a configuration file for the running system."""
    (tmp_path / "token").write_text(Directory(data).api_token() + "\n")
    return f"server: {Directory(data).url()}\ntoken_file: token\n"


def test_the_file_sets_server_and_token(
    trimtab: Trimtab, configured: Configured, server: str
) -> None:
    assert trimtab("get", "domains", env=configured(server)).exit_code == 0


def test_the_file_is_found_by_flag_or_at_its_default_path(
    trimtab: Trimtab, configured: Configured, server: str, tmp_path: Path
) -> None:
    file = str(configured(server)["TRIMTAB_CONFIG"])
    without: dict[str, str | None] = {"TRIMTAB_CONFIG": None, "TRIMTAB_DATA": None}
    assert trimtab("--config", file, "get", "domains", env=without).exit_code == 0
    (tmp_path / "trimtab").mkdir()
    Path(file).rename(tmp_path / "trimtab" / "config.yaml")
    (tmp_path / "token").rename(tmp_path / "trimtab" / "token")
    default_path = without | {"XDG_CONFIG_HOME": str(tmp_path)}
    assert trimtab("get", "domains", env=default_path).exit_code == 0


def test_flags_and_environment_take_precedence_over_the_file(
    trimtab: Trimtab, data: Path, configured: Configured
) -> None:
    closed = configured(f"server: {CLOSED}\n")
    assert trimtab("get", "domains", env=closed).exit_code == 7
    assert trimtab("get", "domains", "--data", str(data), env=closed).exit_code == 0
    assert trimtab("get", "domains", env=closed | {"TRIMTAB_DATA": str(data)}).exit_code == 0
    in_environment = closed | {"TRIMTAB_SERVER": CLOSED}
    assert trimtab("get", "domains", "--data", str(data), env=in_environment).exit_code == 0


def test_the_token_of_the_file_is_not_sent_to_another_server(
    trimtab: Trimtab, data: Path, configured: Configured, server: str
) -> None:
    other = str(Directory(data).url()).replace("127.0.0.1", "localhost")
    assert trimtab("get", "domains", "--server", other, env=configured(server)).exit_code == 6


def test_the_file_sets_defaults_for_project_domain_and_output(
    trimtab: Trimtab, data: Path, configured: Configured, project: str, tmp_path: Path
) -> None:
    file = tmp_path / "priority.yaml"
    file.write_text(f"project: {project}\ndomain: staging\npriority: 5\n")
    assert trimtab("update", PRIORITY, "--attrFile", str(file), "--force").exit_code == 0
    defaults = configured(f"project: {project}\ndomain: staging\noutput: json\n")
    defaults["TRIMTAB_DATA"] = str(data)
    assert json.loads(trimtab("get", PRIORITY, env=defaults).stdout)["priority"] == 5
    assert json.loads(trimtab("get", "domains", env=defaults).stdout)
    assert trimtab("get", PRIORITY, "-d", "production", env=defaults).exit_code == 3
    in_environment = defaults | {"TRIMTAB_DOMAIN": "production"}
    assert trimtab("get", PRIORITY, env=in_environment).exit_code == 3


def test_defaults_apply_neither_to_a_file_nor_to_the_platform(
    trimtab: Trimtab, data: Path, configured: Configured, project: str, tmp_path: Path
) -> None:
    defaults = configured("project: another\ndomain: staging\n") | {"TRIMTAB_DATA": str(data)}
    file = tmp_path / "priority.yaml"
    file.write_text(f"project: {project}\npriority: 5\n")
    done = trimtab("update", PRIORITY, "--attrFile", str(file), "--force", env=defaults)
    assert done.stdout.endswith(f"Updated attributes from {project} project\n")
    deleted = trimtab("delete", PRIORITY, "--platform", env=defaults)
    assert deleted.stdout == "Deleted matchable resources from the platform\n"


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        ("servers: x\n", 2, "config.yaml: servers: 'x' is not valid; allowed: one of server, "),
        ("servers: x\n", 2, "contexts; did you mean 'server'?"),
        ("server: x\nserver: y\n", 1, "config.yaml, line 2, column 1: the key 'server' is given"),
        ("server: [" * 101, 1, "config.yaml, line 1, column"),
        ("output: xml\n", 2, "config.yaml: output: 'xml' is not valid"),
        ("- server\n", 2, "allowed: a mapping with server, "),
        ("token_file: t\n", 2, "config.yaml: server: '' is not valid; allowed: the URL"),
        ("{", 1, "config.yaml is not YAML"),
        (f"server: {CLOSED}\ntoken_file: nowhere\n", 1, "nowhere: No such file"),
    ],
)
def test_the_error_for_a_wrong_file_names_file_and_key(
    trimtab: Trimtab, configured: Configured, content: str, code: int, message: str
) -> None:
    done = trimtab("get", "domains", env=configured(content))
    assert (done.exit_code, message in done.stderr) == (code, True), done.stderr


def test_a_file_selected_by_flag_must_exist(trimtab: Trimtab) -> None:
    done = trimtab("--config", "nowhere.yaml", "get", "domains")
    assert (done.exit_code, "nowhere.yaml cannot be read" in done.stderr) == (1, True)
