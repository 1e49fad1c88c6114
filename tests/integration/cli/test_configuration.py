"""Flag, environment, file, embedded directory: the nearest one counts."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Trimtab
from trimtab.embedded.directory import Directory

NOBODY = "http://127.0.0.1:1"
PRIORITY = "workflow-priority"

Configured = Callable[[str], dict[str, str | None]]


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    """A file of that content, as the environment names it."""

    def write(content: str) -> dict[str, str | None]:
        file = tmp_path / "config.yaml"
        file.write_text(content)
        return {"TRIMTAB_CONFIG": str(file), "TRIMTAB_DATA": None}

    return write


@pytest.fixture
def server(data: Path, tmp_path: Path) -> str:
    """The lines of a file that name the running system."""
    (tmp_path / "token").write_text(Directory(data).token() + "\n")
    return f"server: {Directory(data).url()}\ntoken_file: token\n"


def test_the_file_names_server_and_token(
    trimtab: Trimtab, configured: Configured, server: str
) -> None:
    assert trimtab("get", "domains", env=configured(server)).exit_code == 0


def test_the_file_may_be_a_flag_or_lie_where_such_files_lie(
    trimtab: Trimtab, configured: Configured, server: str, tmp_path: Path
) -> None:
    file = str(configured(server)["TRIMTAB_CONFIG"])
    without: dict[str, str | None] = {"TRIMTAB_CONFIG": None, "TRIMTAB_DATA": None}
    assert trimtab("--config", file, "get", "domains", env=without).exit_code == 0
    (tmp_path / "trimtab").mkdir()
    Path(file).rename(tmp_path / "trimtab" / "config.yaml")
    (tmp_path / "token").rename(tmp_path / "trimtab" / "token")
    at_home = without | {"XDG_CONFIG_HOME": str(tmp_path)}
    assert trimtab("get", "domains", env=at_home).exit_code == 0


def test_a_flag_and_the_environment_come_before_the_file(
    trimtab: Trimtab, data: Path, configured: Configured
) -> None:
    nobody = configured(f"server: {NOBODY}\n")
    assert trimtab("get", "domains", env=nobody).exit_code == 7
    assert trimtab("get", "domains", "--data", str(data), env=nobody).exit_code == 0
    assert trimtab("get", "domains", env=nobody | {"TRIMTAB_DATA": str(data)}).exit_code == 0
    in_environment = nobody | {"TRIMTAB_SERVER": NOBODY}
    assert trimtab("get", "domains", "--data", str(data), env=in_environment).exit_code == 0


def test_the_token_of_the_file_goes_to_no_other_server(
    trimtab: Trimtab, data: Path, configured: Configured, server: str
) -> None:
    other = str(Directory(data).url()).replace("127.0.0.1", "localhost")
    assert trimtab("get", "domains", "--server", other, env=configured(server)).exit_code == 6


def test_project_domain_and_output_are_what_is_usual(
    trimtab: Trimtab, data: Path, configured: Configured, project: str, tmp_path: Path
) -> None:
    file = tmp_path / "priority.yaml"
    file.write_text(f"project: {project}\ndomain: staging\npriority: 5\n")
    assert trimtab("update", PRIORITY, "--attrFile", str(file), "--force").exit_code == 0
    usual = configured(f"project: {project}\ndomain: staging\noutput: json\n")
    usual["TRIMTAB_DATA"] = str(data)
    assert json.loads(trimtab("get", PRIORITY, env=usual).stdout)["priority"] == 5
    assert json.loads(trimtab("get", "domains", env=usual).stdout)
    assert trimtab("get", PRIORITY, "-d", "production", env=usual).exit_code == 3
    in_environment = usual | {"TRIMTAB_DOMAIN": "production"}
    assert trimtab("get", PRIORITY, env=in_environment).exit_code == 3


def test_what_is_usual_moves_neither_a_file_nor_the_platform(
    trimtab: Trimtab, data: Path, configured: Configured, project: str, tmp_path: Path
) -> None:
    usual = configured("project: another\ndomain: staging\n") | {"TRIMTAB_DATA": str(data)}
    file = tmp_path / "priority.yaml"
    file.write_text(f"project: {project}\npriority: 5\n")
    done = trimtab("update", PRIORITY, "--attrFile", str(file), "--force", env=usual)
    assert done.stdout.endswith(f"Updated attributes from {project} project\n")
    assert "from platform" in trimtab("delete", PRIORITY, "--platform", env=usual).stdout.replace(
        "the platform", "platform"
    )


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ("servers: x\n", 2, "config.yaml: servers: 'x' is not valid; allowed: one of server, "),
        ("output: xml\n", 2, "config.yaml: output: 'xml' is not valid"),
        ("- server\n", 2, "allowed: a mapping with server, "),
        ("token_file: t\n", 2, "config.yaml: server: '' is not valid; allowed: the URL"),
        ("{", 1, "config.yaml is not YAML"),
        (f"server: {NOBODY}\ntoken_file: nowhere\n", 1, "nowhere: No such file"),
    ],
)
def test_a_wrong_file_is_told(
    trimtab: Trimtab, configured: Configured, content: str, code: int, said: str
) -> None:
    done = trimtab("get", "domains", env=configured(content))
    assert (done.exit_code, said in done.stderr) == (code, True), done.stderr


def test_a_file_that_is_named_must_be_there(trimtab: Trimtab) -> None:
    done = trimtab("--config", "nowhere.yaml", "get", "domains")
    assert (done.exit_code, "nowhere.yaml cannot be read" in done.stderr) == (1, True)
