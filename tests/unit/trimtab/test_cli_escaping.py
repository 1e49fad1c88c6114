"""Text from servers and files reaches the terminal as text, whatever characters it has."""

import ast
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from trimtab import cli
from trimtab.cli import attribute_files, escaping, terminal
from trimtab.cli.commands import Failure
from trimtab.cli.tables import Table, cell

HOSTILE = "a\x00\x1b[2J\r\x7f\x9b2J\u202e\u2066\ud800"
SHOWN = r"a\x00\x1b[2J\r\x7f\x9b2J\u202e\u2066\ud800"
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
PRINTING = {"echo", "secho", "print", "echo_via_pager"}


def test_the_functions_of_the_terminal_escape(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    terminal.show(HOSTILE)
    terminal.show(Table(["A"], [[HOSTILE], [[HOSTILE]], [Path(HOSTILE)]]))
    terminal.confirm(HOSTILE)
    terminal.progress(HOSTILE)
    Failure(HOSTILE).show()
    printed = capsys.readouterr()
    assert (printed.out.count(SHOWN), printed.err.count(SHOWN)) == (5, 2)
    assert not UNSAFE.search(printed.out + printed.err)


def test_lines_and_tabs_are_kept_but_in_a_cell() -> None:
    assert escaping.escape("a\tb\nc") == "a\tb\nc"
    assert cell("a\tb\nc") == "a b c"


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_data_is_the_same_after_parsing(capsys: pytest.CaptureFixture[str], output: Any) -> None:
    data = {"naïve": "naïve\n", HOSTILE[:-1]: [HOSTILE[:-1], "\u2028"]}
    terminal.show_data(data, output)
    text = capsys.readouterr().out
    assert not UNSAFE.search(text)
    assert (json.loads if output == "json" else yaml.safe_load)(text) == data


def test_an_attribute_file_is_the_same_after_parsing() -> None:
    data = {HOSTILE[:-1]: HOSTILE[:-1], "naïve": "naïve"}
    text = attribute_files.to_yaml(data)
    assert not UNSAFE.search(text)
    assert "naïve" in text
    assert yaml.safe_load(text) == data


def test_nothing_else_prints() -> None:
    package = Path(cli.__file__).parent
    found = [
        f"{path.name}:{node.lineno}"
        for path in package.glob("*.py")
        if path.name != "terminal.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and _called(node) in PRINTING
    ]
    assert found == []


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""
