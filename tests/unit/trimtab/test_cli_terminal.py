"""Output on a terminal, and for another program."""

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from trimtab.cli import terminal
from trimtab.cli.commands import Failure
from trimtab.cli.tables import Table

COLUMNS = 60
TRIMTAB = Path(sys.executable).with_name("trimtab")
CONTEXTS = f"contexts: {{one: {{server: 'http://{'x' * 80}', project: shop}}}}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONTEXTS)
    return path


def run_in_terminal(*arguments: str, **environment: str) -> list[str]:
    """Run the command line in a terminal, and return its lines."""
    master, slave = pty.openpty()
    variables = _environment({"COLUMNS": str(COLUMNS), "TERM": "xterm", **environment})
    with os.fdopen(master, "rb") as reader:
        process = subprocess.Popen(
            [TRIMTAB, *arguments], stdin=slave, stdout=slave, stderr=slave, env=variables
        )
        os.close(slave)
        output = b""
        try:
            while part := os.read(reader.fileno(), 4096):
                output += part
        except OSError:
            pass  # Linux reports the end of a terminal so.
        process.wait()
    return output.decode().splitlines()


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, **variables}


def test_tables_fit_a_terminal_and_wide_ones_are_whole(file: Path) -> None:
    view = ("--config", str(file), "config", "view")
    assert max(map(len, run_in_terminal(*view))) <= COLUMNS
    for words in ((*view, "-o", "wide"), ("-o", "wide", *view)):
        assert "x" * 80 in "".join(run_in_terminal(*words))


def test_a_pipe_has_the_whole_table_and_no_colours(file: Path) -> None:
    done = subprocess.run(
        [TRIMTAB, "--config", file, "--context", "two", "config", "view"],
        capture_output=True,
        text=True,
        check=False,
        env=_environment({"COLUMNS": str(COLUMNS)}),
    )
    assert done.stderr.startswith("Error: context 'two' does not exist")
    shown = subprocess.run(
        [TRIMTAB, "--config", file, "config", "view"],
        capture_output=True,
        text=True,
        check=True,
        env=_environment({"COLUMNS": str(COLUMNS)}),
    )
    assert "x" * 80 in shown.stdout


def test_errors_are_red_on_a_terminal_with_colours(file: Path) -> None:
    unknown = ("--config", str(file), "--context", "two", "config", "view")
    assert run_in_terminal(*unknown)[0].startswith("\x1b[31mError:\x1b[0m context 'two'")
    for plain in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert run_in_terminal(*unknown, **plain)[0].startswith("Error: context 'two'")


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ("config view >&-", 1, "Error: [Errno 9] Bad file descriptor\n"),
        ("config view >&- 2>&-", 1, ""),
        ("config nonsense 2>&-", 2, ""),
        ("config view > /dev/full", 1, "Error: [Errno 28] No space left on device\n"),
        ("apply -f - <&-", 1, "Error: -: there is no document\n"),
    ],
)
def test_a_stream_that_is_closed_or_full_is_no_traceback(
    file: Path, words: str, code: int, error: str
) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" --config "$1" {words}', TRIMTAB, file],
        input="",
        capture_output=True,
        text=True,
        check=False,
        env=_environment({}),
    )
    assert (done.returncode, done.stderr) == (code, error)


def test_wide_adds_columns(capsys: pytest.CaptureFixture[str]) -> None:
    columns: terminal.Columns[str] = {"NAME": lambda text: text}
    wide: terminal.Columns[str] = {"LENGTH": len}
    command = click.Command("list", params=[], callback=lambda output: _list(columns, wide))
    command = terminal.output_option()(command)
    command.main(["-o", "wide"], standalone_mode=False)
    command.main([], standalone_mode=False)
    assert capsys.readouterr().out == "NAME  LENGTH\nshop  4\nNAME\nshop\n"


def _list(columns: terminal.Columns[str], wide: terminal.Columns[str]) -> None:
    terminal.show(terminal.table_of(["shop"], columns, wide))


def test_warnings_and_errors_are_on_stderr_in_one_form(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.warn("two\nlines")
    Failure("wrong").show()
    terminal.show("text", Table(["A"], [["b"]]))
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("text\nA\nb\n", "warning: two\nlines\nError: wrong\n")
