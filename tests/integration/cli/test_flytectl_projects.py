"""Flags, files, prompts and messages for projects that scripts written for flytectl rely on."""

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Trimtab
from tests.integration.embedded.running import TRIMTAB
from tests.processes import ended
from tests.servers import PATIENCE_SECONDS

_NUMBERS = itertools.count(1)


def stored(trimtab: Trimtab, name: str) -> dict[str, Any]:
    [project] = json.loads(trimtab("get", "project", name, "-o", "json").stdout)
    return {key: value for key, value in project.items() if key != "version"}


@pytest.fixture
def created(trimtab: Trimtab) -> str:
    """Create a project with flytectl's flags."""
    name = f"neu-{next(_NUMBERS)}"
    flags = ("--name", "Neu", "--description", "d", "--labels", "a=b,c=d")
    done = trimtab("create", "project", "--id", name, *flags)
    assert done.stdout == "project created successfully.\n"
    return name


def test_a_project_is_created_from_flags(trimtab: Trimtab, created: str) -> None:
    assert stored(trimtab, created) == {
        "name": created,
        "display_name": "Neu",
        "description": "d",
        "labels": {"a": "b", "c": "d"},
        "state": "active",
    }
    again = trimtab("create", "project", "-p", created, "--name", "Neu")
    assert (again.exit_code, again.stderr) == (4, f"Error: project {created!r} already exists\n")


def test_a_project_is_created_from_a_file(trimtab: Trimtab, created: str, tmp_path: Path) -> None:
    file = tmp_path / "project.yaml"
    file.write_text(
        f"id: {created}-file\nname: From file\nlabels: {{values: {{app: f}}}}\nstate: ARCHIVED\n"
    )
    done = trimtab("create", "project", "--file", str(file), "--description", "of a flag")
    assert (done.exit_code, done.stderr) == (
        0,
        f"warning: {file}: state is ignored, as by flytectl\n",
    )
    project = stored(trimtab, f"{created}-file")
    assert (project["labels"], project["state"]) == ({"app": "f"}, "active")
    assert (project["display_name"], project["description"]) == ("From file", "of a flag")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("id: x\nnmae: y\n", "nmae: 'y' is not valid; allowed: only id, name, description, labels"),
        ("id: x\nname: y\nlabels: {a: b}\n", "labels: {'a': 'b'} is not valid; allowed: a mapping"),
        ("id: x\nname: y\nlabels: {values: {b_: c}}\n", "labels.b_: 'b_' is not valid"),
        ("- x\n", "['x'] is not valid; allowed: a mapping"),
    ],
)
def test_a_file_that_is_not_of_a_project_is_refused(
    trimtab: Trimtab, tmp_path: Path, text: str, error: str
) -> None:
    file = tmp_path / "project.yaml"
    file.write_text(text)
    done = trimtab("create", "project", "--file", str(file))
    assert (done.exit_code, error in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        ("--name x", "project id wasn't passed"),
        ("--id x", "project name is a required flag"),
        ("--id x -p y --name z", "both project and id are passed"),
        ("--file missing.yaml", "open missing.yaml: no such file or directory"),
        ("--id x --name y --labels a", "label 'a' is not KEY=VALUE"),
    ],
)
def test_what_a_new_project_lacks_is_named_as_by_flytectl(
    trimtab: Trimtab, flags: str, error: str
) -> None:
    done = trimtab("create", "project", *flags.split())
    assert done.exit_code
    assert done.stderr == f"Error: {error}\n"


def test_an_update_shows_the_changes_and_prompts(trimtab: Trimtab, created: str) -> None:
    update = ("update", "project", "-p", created, "--name", "Neu2", "--archive")
    refused = trimtab(*update, stdin="n\n")
    shown, question, rest = refused.stdout.partition("Continue? [y/n]: ")
    assert shown.startswith("The following changes are to be applied.\n--- before\n+++ after\n")
    assert shown.endswith("\n-name: Neu\n+name: Neu2\n+state: 1\n \n\n")
    assert (refused.exit_code, question != "", rest) == (1, True, "")
    assert refused.stderr == "Error: update aborted by user\n"
    assert trimtab(*update, "--dryRun").stdout == (
        f"{shown}skipping UpdateProject request (dryRun)\n"
    )
    assert stored(trimtab, created)["display_name"] == "Neu"
    done = trimtab(*update, stdin="y\n")
    assert done.stdout == f"{shown}{question}project {created} updated\n"
    project = stored(trimtab, created)
    assert (project["display_name"], project["state"]) == ("Neu2", "archived")
    assert project["labels"] == {"a": "b", "c": "d"}
    again = trimtab(*update)
    assert again.stdout == "No changes detected. Skipping the update.\n"


def test_a_change_that_another_makes_during_the_prompt_is_kept(
    trimtab: Trimtab, data: Path, created: str
) -> None:
    command = [TRIMTAB, "update", "project", "-p", created, "--name", "x", "--data", str(data)]
    pipe = subprocess.PIPE
    starting = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    with ended(starting) as prompting:
        assert prompting.stdout is not None
        while prompting.stdout.read(1) != "?":
            pass
        assert trimtab("update", "project", created, "--display-name", "y").exit_code == 0
        _, error = prompting.communicate("y\n", timeout=PATIENCE_SECONDS)
    assert prompting.returncode == 5
    assert error.startswith(f"Error: Project {created} failed to update due to ")
    assert stored(trimtab, created)["display_name"] == "y"


def test_the_labels_of_an_update_replace_the_stored_ones(trimtab: Trimtab, created: str) -> None:
    update = ("update", "project", "--id", created, "--labels", "a=x,e=f", "--force")
    assert trimtab(*update).stdout.endswith(f"project {created} updated\n")
    assert stored(trimtab, created)["labels"] == {"a": "x", "e": "f"}
    assert trimtab(*update).stdout == "No changes detected. Skipping the update.\n"


@pytest.mark.parametrize(
    ("flags", "code", "error"),
    [
        ("--archive --activate", 2, "invalid state passed. Specify either activate or archive"),
        ("--name x", 2, "project id wasn't passed"),
        (
            "-p nope --name x",
            3,
            "update project nope: could not fetch project: project 'nope' does",
        ),
        ("-p nope --label a=b", 2, "--label is for a project that is given as NAME"),
        ("nope --labels a=b", 2, "NAME takes the place of -p, --id, --file and --labels"),
    ],
)
def test_a_wrong_update_of_a_project_is_refused(
    trimtab: Trimtab, flags: str, code: int, error: str
) -> None:
    done = trimtab("update", "project", *flags.split())
    assert (done.exit_code, done.stderr.startswith(f"Error: {error}")) == (code, True), done.stderr


def test_a_project_that_is_named_is_updated_without_a_prompt(
    trimtab: Trimtab, created: str
) -> None:
    done = trimtab("update", "project", created, "--display-name", "Shop", "--label", "a=")
    assert done.stdout == f"Updated project {created}\n"
    project = stored(trimtab, created)
    assert (project["display_name"], project["labels"]) == ("Shop", {"c": "d"})
