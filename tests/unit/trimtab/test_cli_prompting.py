"""Prompts for the inputs that a command line does not give."""

import io
import sys
from pathlib import Path

import pytest

from tests.terminals import END, run_in_terminal
from trimtab.cli.configuration import Output
from trimtab.cli.prompting import can_prompt

MODULE = """
import pathlib
from typing import Annotated, Literal

from pydantic import Field
from trimtab import task, workflow

@task
def sell(n: int, mode: str, day: str) -> str:
    pathlib.Path("sold").touch()
    return f"{n} {mode} {day}"

@workflow
def pricing(
    n: Annotated[int, Field(ge=1, description="Items to sell.")],
    mode: Literal["fast", "slow"],
    day: str = "monday",
) -> str:
    return sell(n=n, mode=mode, day=day)
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "pricing.py"
    path.write_text(MODULE)
    return path


def test_a_terminal_prompts_for_each_missing_input_until_its_value_is_right(file: Path) -> None:
    code, shown = run_in_terminal("three\n0\n\n3\nfast\n", "run", str(file), "pricing")
    assert (code, '"3 fast monday"' in shown) == (0, True), shown
    assert 'day = "monday" by default' in shown
    assert "n: Items to sell." in shown
    assert shown.count("n (an integer): ") == 4
    assert "Error: input n: 'three' is not valid; allowed: an integer, such as 3" in shown
    assert "Error: input n: '0' is not valid; allowed: at least 1" in shown
    assert 'mode ("fast" or "slow"): ' in shown


def test_the_end_of_the_input_aborts_with_nothing_done(file: Path) -> None:
    code, shown = run_in_terminal(f"3\n{END}", "run", str(file), "pricing")
    assert (code, "Aborted!" in shown, Path("sold").exists()) == (1, True, False), shown


@pytest.mark.parametrize(
    ("output", "may_prompt", "streams", "prompts"),
    [
        (None, True, ("stdin", "stderr"), True),
        ("table", True, ("stdin", "stderr"), True),
        ("json", True, ("stdin", "stderr"), False),
        (None, False, ("stdin", "stderr"), False),
        (None, True, ("stdin",), False),
        (None, True, ("stderr", "stdout"), False),
    ],
)
def test_a_program_is_not_prompted(
    monkeypatch: pytest.MonkeyPatch,
    output: Output | None,
    may_prompt: bool,
    streams: tuple[str, ...],
    prompts: bool,
) -> None:
    for name in ("stdin", "stdout", "stderr"):
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda name=name: name in streams)
        monkeypatch.setattr(sys, name, stream)
    assert can_prompt(output, may_prompt=may_prompt) == prompts
