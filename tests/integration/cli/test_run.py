"""trimtab run: workflows in the process of the command, without a server."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trimtab.cli.main import cli

TASKS = """
import os
from trimtab import task
@task(environment={"UNIT": "rows"})
def count(n: int) -> str:
    print("counting")
    return f"{n} {os.environ['UNIT']}"
@task
def check(n: int) -> int:
    from pkg import limits
    return limits.checked(n)
"""
MAIN = """
from trimtab import ContainerTask, reference_task, runtime_override_config, task, workflow
from .tasks import check, count
@reference_task(project="shop", domain="production", name="train", version="v3")
def train(n: int) -> int: ...
@workflow
def inner(n: int):
    check(n=n)
    items = runtime_override_config(environment={"UNIT": "items"})
    return count(n=n).with_runtime_override("counter", items)
@workflow
def counting(n: int):
    return inner(n=n)
convert = ContainerTask(name="convert", image="team/convert:v1", inputs={"n": int})
@workflow
def converting(n: int = 1):
    convert(n=n)
@workflow
def training(n: int = 1):
    return train(n=n)
"""
LIMITS = """
def checked(n):
    if n > 10:
        raise ValueError("too many")
    return n
"""


@pytest.fixture
def pkg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "pkg").mkdir()
    files = {"__init__": "", "main": MAIN, "tasks": TASKS, "limits": LIMITS}
    for name, text in files.items():
        (tmp_path / f"pkg/{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    return "pkg"


def run(*arguments: str) -> Result:
    # Neither a configuration nor a server.
    env = {"TRIMTAB_CONFIG": os.devnull, "TRIMTAB_DATA": "/nowhere", "TRIMTAB_SERVER": None}
    return CliRunner(env=env).invoke(cli, ["run", *arguments], prog_name="trimtab")


def test_a_workflow_of_several_files_and_workflows_runs(pkg: str) -> None:
    done = run(pkg, "counting", "--input", "n=3")
    assert done.exit_code == 0, done.output
    assert done.stdout == 'counting\n"3 items"\n'
    assert done.stderr == "n0.n0 check succeeded\nn0.n1 count succeeded\n"


def test_the_output_for_a_program_is_one_document(pkg: str) -> None:
    changed = ("--override", 'counter={"environment": {"UNIT": "lines"}}')
    done = run("pkg/main.py", "counting", "--input", "n=3", "-o", "json", *changed)
    assert json.loads(done.stdout) == "3 lines"
    assert "counting\n" in done.stderr
    assert "UNIT" not in os.environ


def test_a_failing_task_is_named_with_its_node_file_and_line(pkg: str) -> None:
    done = run(pkg, "counting", "--input", "n=11")
    assert (done.exit_code, done.stdout) == (1, "")
    *trace, error = done.stderr.splitlines()
    assert error == "Error: n0.n0 check failed: ValueError: too many (pkg/limits.py, line 4)"
    assert trace[0] == "Traceback (most recent call last):"
    assert "tasks.py" in trace[1]


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        ((), 2, "name one of the workflows: inner, counting, converting, training"),
        (("countin",), 3, "did you mean 'counting'"),
        (("counting",), 2, "counting requires n"),
        (("counting", "--input", "n=x"), 2, "an integer"),
        (("counting", "--input", "m=1"), 2, "inputs n"),
        (("counting", "--input", "n=1", "--override", "count={}"), 2, "the hooks counter"),
        (("counting", "--input", "n=1", "--override", 'counter={"retries": -1}'), 2, "retries"),
        (("converting",), 1, "convert is a program of an image, which cannot run locally"),
        (("training",), 1, "of shop/production, which cannot run locally"),
    ],
)
def test_a_wrong_call_is_refused_before_any_task_runs(
    pkg: str, arguments: tuple[str, ...], code: int, error: str
) -> None:
    done = run(pkg, *arguments)
    assert error in done.stderr
    assert (done.exit_code, done.stdout) == (code, "")


def test_the_output_is_checked_against_the_declared_type(pkg: str) -> None:
    text = (
        "from trimtab import *\n@task\ndef t(): return 'x'\n@workflow\ndef w() -> int: return t()\n"
    )
    Path("odd.py").write_text(text)
    done = run("odd.py")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "w: return: 'x' is not valid" in done.stderr


@pytest.mark.parametrize(
    ("value", "allowed"),
    [("'x' * 262_143", "at most 262144 bytes"), (r"'\ud800'", "surrogates not allowed")],
)
def test_an_output_that_the_platform_cannot_store_is_refused(
    pkg: str, value: str, allowed: str
) -> None:
    text = f"from trimtab import *\n@task\ndef t(): return {value}\n@workflow\ndef w(): t()\n"
    Path("odd.py").write_text(text)
    done = run("odd.py")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "n0 t failed: t: return: " in done.stderr
    assert allowed in done.stderr


def test_an_only_workflow_needs_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "from trimtab import *\n@task\ndef t(): raise SystemExit(0)\n@workflow\ndef w(): t()\n"
    (tmp_path / "one.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    done = run("one.py")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.endswith("Error: n0 t failed: SystemExit: 0 (one.py, line 3)\n")
