"""``trimtab config``."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trimtab.cli.main import cli

Run = Callable[..., Result]
SECRET = "secret-of-the-file"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    path = tmp_path / "config.yaml"
    path.write_text(
        "# Ours.\nproject: shop\ncurrent_context: staging\ncontexts:\n"
        "  staging: {server: 'https://ci:hidden@staging.example', token_file: token}\n"
    )
    return path


@pytest.fixture
def run(file: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(file.parent)

    def run(*arguments: str, **environment: str) -> Result:
        variables = {"TRIMTAB_CONFIG": str(file), **environment}
        return CliRunner(env=variables).invoke(cli, ["config", *arguments])

    return run


def test_the_view_has_each_value_and_its_origin(run: Run, file: Path) -> None:
    done = run("view", "-d", "development", TRIMTAB_OUTPUT="table")
    rows = [line.split(maxsplit=2) for line in done.stdout.split("\n\n")[0].splitlines()[1:]]
    assert rows == [
        ["config", str(file), "TRIMTAB_CONFIG"],
        ["context", "staging", "current_context"],
        ["server", "https://staging.example", "context staging"],
        ["token", str(file.parent / "token"), "context staging"],
        ["data", ".trimtab", "default"],
        ["project", "shop", "configuration file"],
        ["domain", "development", "--domain"],
        ["output", "table", "TRIMTAB_OUTPUT"],
    ]


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
def test_the_view_has_no_secret(run: Run, output: str) -> None:
    variable = "secret-of-the-variable"
    for environment in ({}, {"TRIMTAB_TOKEN": variable}):
        shown = run("view", "-o", output, **environment).output
        assert "https://staging.example" in shown
        assert not [secret for secret in (SECRET, variable, "hidden") if secret in shown]


def test_the_view_names_a_token_of_a_variable(run: Run) -> None:
    shown = json.loads(run("view", "-o", "json", TRIMTAB_TOKEN="t").stdout)
    assert shown["values"]["token"] == {"value": "set", "from": "TRIMTAB_TOKEN"}


def test_the_view_shows_what_a_flag_selects(run: Run) -> None:
    done = run("--config", os.devnull, "view", "--server", "http://here", "-o", "json")
    values = json.loads(done.stdout)["values"]
    assert values["config"] == {"value": os.devnull, "from": "--config"}
    assert values["server"] == {"value": "http://here", "from": "--server"}
    assert values["token"] == {"value": "", "from": "default"}


def test_a_context_is_created_changed_and_used(run: Run, file: Path) -> None:
    created = run("set-context", "new", "--server", "https://new.example", "--token-file", "token")
    assert created.stdout == f"Created context new in {file}\n"
    assert run("set-context", "new", "-d", "development", "-p", "other").stdout.startswith(
        "Changed"
    )
    assert run("set-context", "new", "-p", "").exit_code == 0
    assert run("use-context", "new").stdout == "Using context new\n"
    values = json.loads(run("view", "-o", "json").stdout)["values"]
    found = {key: value["value"] for key, value in values.items()}
    assert found["server"] == "https://new.example"
    assert found["token"] == str(file.parent / "token")
    assert (found["project"], found["domain"]) == ("shop", "development")
    assert file.read_text().startswith("# Ours.\n")


def test_variables_do_not_become_part_of_a_context(run: Run) -> None:
    variables = {"TRIMTAB_PROJECT": "other", "TRIMTAB_SERVER": "http://x", "TRIMTAB_OUTPUT": "yaml"}
    run("set-context", "new", "--domain", "development", **variables)
    shown = json.loads(run("view", "-o", "json").stdout)["contexts"]["new"]
    assert {key: value for key, value in shown.items() if value} == {"domain": "development"}


def test_the_file_is_created_for_its_owner_only(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "config.yaml"
    done = run("set-context", "new", "--server", "http://x", TRIMTAB_CONFIG=str(path))
    assert done.exit_code == 0, done.output
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not list(path.parent.glob(".*"))


def test_a_link_to_the_file_stays_a_link(run: Run, file: Path) -> None:
    link = file.with_name("link.yaml")
    link.symlink_to(file)
    assert run("use-context", "", TRIMTAB_CONFIG=str(link)).exit_code == 0
    assert link.is_symlink()
    assert "current_context: ''" in file.read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["use-context", "stagign"], 3, "context 'stagign' does not exist; did you mean 'staging'"),
        (["set-context", "new", "--token-file", "t"], 2, "contexts.new.server: '' is not valid"),
        (["set-context", "new", "-o", "xml"], 2, "'xml' is not one of"),
        (["set-context", "", "-p", "shop"], 2, "NAME: '' is not valid"),
    ],
)
def test_a_wrong_change_stores_nothing(
    run: Run, file: Path, arguments: list[str], code: int, message: str
) -> None:
    before = file.read_text()
    done = run(*arguments)
    assert (done.exit_code, message in done.stderr) == (code, True), done.stderr
    assert file.read_text() == before


def test_only_a_regular_file_is_replaced(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = run("set-context", "new", "-p", "shop", TRIMTAB_CONFIG=str(tmp_path / "pipe"))
    assert (done.exit_code, "it is no regular file" in done.stderr) == (1, True)
    assert not (tmp_path / "pipe").is_file()


def test_the_view_names_a_token_file_that_is_missing(run: Run, file: Path) -> None:
    (file.parent / "token").unlink()
    done = run("view", "-o", "json")
    assert done.exit_code == 0, done.output
    token = json.loads(done.stdout)["values"]["token"]
    assert token == {"value": f"{file.parent / 'token'} (missing)", "from": "context staging"}
