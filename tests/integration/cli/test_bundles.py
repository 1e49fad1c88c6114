"""trimtab register DIR: code of several files, uploaded once and executed."""

from pathlib import Path

import pytest

from tests.integration.cli.conftest import Trimtab

MAIN = """
from trimtab import workflow
from pkg.tasks import greet
@workflow
def hello(name: str = "world"):
    return greet(name=name).with_runtime_override("greeter")
"""
TASKS = """
import os
from trimtab import task
@task(container_image="team/greeter:latest")
def greet(name: str) -> str:
    from pkg.words import greeting
    return greeting(os.environ.get("GREETING", "Hello"), name)
"""
WORDS = """
def greeting(word: str, name: str) -> str:
    if name == "no one":
        raise ValueError("there is no one to greet")
    return f"{word}, {name}!"
"""


@pytest.fixture
def scope(project: str) -> list[str]:
    return ["-p", project, "-d", "development"]


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pkg").mkdir()
    for name, text in (("__init__", ""), ("main", MAIN), ("tasks", TASKS), ("words", WORDS)):
        (tmp_path / f"pkg/{name}.py").write_text(text)
    (tmp_path / "key.pem").write_text("secret")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_directory_is_uploaded_once_and_its_tasks_are_executed(
    trimtab: Trimtab, code: Path, scope: list[str]
) -> None:
    planned = trimtab("register", ".", *scope, "--dry-run")
    assert planned.exit_code == 0, planned.output
    assert planned.stdout.startswith("Would upload bundle ")
    done = trimtab("register", ".", *scope)
    uploaded, registered = done.stdout.splitlines()
    assert uploaded.startswith("Uploaded bundle ")
    assert registered.startswith("Registered workflow hello version ")
    assert "key.pem: is left out, as files of this name hold secrets" in done.stderr
    assert "pkg/tasks.py, line 4: image 'team/greeter:latest'" in done.stderr
    again = trimtab("register", ".", *scope)
    assert again.stdout.splitlines() == [
        uploaded.replace("Uploaded bundle", "Bundle").replace(" (", " is unchanged ("),
        registered,
    ]

    done = trimtab("execute", "hello", *scope, "--input", "name=moon")
    assert '"Hello, moon!"' in done.stderr, done.output
    # A task of another module is overridden by its hook like a local one.
    override = 'greeter={"environment": {"GREETING": "Good night"}}'
    done = trimtab("execute", "hello", *scope, "--override", override)
    assert '"Good night, world!"' in done.stderr
    done = trimtab("execute", "hello", *scope, "--input", "name=no one")
    assert "ValueError: there is no one to greet (pkg/words.py, line 4)" in done.stderr
    assert done.exit_code == 1


def test_an_error_in_any_file_is_reported_with_its_line(
    trimtab: Trimtab, code: Path, scope: list[str]
) -> None:
    (code / "pkg/words.py").write_text("\nimport missing\n")
    done = trimtab("register", ".", *scope)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "pkg/words.py, line 2: ModuleNotFoundError: No module named 'missing'" in done.stderr


def test_with_an_image_no_code_is_uploaded(trimtab: Trimtab, code: Path, scope: list[str]) -> None:
    done = trimtab("register", "pkg/main.py", *scope, "--image", "shop/greeter:1")
    assert done.exit_code == 0, done.output
    [registered] = done.stdout.splitlines()
    assert registered.startswith("Registered workflow hello version ")
    wrong = trimtab("register", "pkg/main.py", *scope, "--image", "shop greeter")
    assert (wrong.exit_code, "image" in wrong.stderr) == (2, True)
