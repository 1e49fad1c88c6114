"""Output to the terminal and prompts: tables, JSON, YAML, progress on stderr, questions."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TextIO, TypeVar

import click
from pydantic import BaseModel

from trimtab.cli.configuration import Output, configured
from trimtab.cli.escaping import escape, to_json, to_yaml
from trimtab.cli.tables import Table

B = TypeVar("B", bound=BaseModel)
F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")
Columns = Mapping[str, Callable[[R], object]]

_WIDE = "trimtab.wide"

OUTPUTS = click.Choice(["table", "wide", "json", "yaml"], case_sensitive=False)


def output_option(default: Output | None = "table") -> Callable[[F], F]:
    """Add ``-o``; the command receives it as ``output``, which is ``table`` for ``wide`` too."""
    return click.option(
        "-o",
        "--output",
        type=OUTPUTS,
        default=lambda: configured().output or default,
        show_default=default or False,
        envvar="TRIMTAB_OUTPUT",
        callback=_remember_wide,
        help="Output format: table, wide, json or yaml.  [env: TRIMTAB_OUTPUT]",
    )


def _remember_wide(context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
    context.meta[_WIDE] = value == "wide"
    return "table" if value == "wide" else value


def is_wide() -> bool:
    """Return whether tables have all columns, and no column is cut."""
    context = click.get_current_context(silent=True)
    return context is not None and context.meta.get(_WIDE, False)


def show_list(
    bodies: Sequence[B], output: Output, columns: Columns[B], wide: Columns[B] | None = None
) -> None:
    """Print objects of one type, ``-o wide`` with further columns.

    An empty table is followed by a line on stderr.
    """
    if output != "table":
        show_data([body.model_dump(mode="json") for body in bodies], output)
        return
    show(table_of(bodies, columns, wide))
    if not bodies:
        progress("there are none")


def table_of(bodies: Sequence[R], columns: Columns[R], wide: Columns[R] | None = None) -> Table:
    """Return a row for each object, with the columns of ``-o wide`` where it is given."""
    shown = {**columns, **(wide or {})} if is_wide() else columns
    return Table(list(shown), [[value(body) for value in shown.values()] for body in bodies])


def show_data(data: Any, output: Literal["json", "yaml"]) -> None:
    """Print data for another program."""
    if output == "json":
        show(to_json(data, indent=2))
    else:
        show(to_yaml(data), nl=False)


def show(*parts: str | Table, nl: bool = True) -> None:
    """Print texts and tables on stdout. What a terminal would not show as text is escaped."""
    for part in parts:
        click.echo(_table_text(part) if isinstance(part, Table) else escape(part), nl=nl)


def _table_text(table: Table) -> str:
    """Return a table that fits the terminal; for another program, it is not cut."""
    is_cut = sys.stdout.isatty() and not is_wide()
    width = shutil.get_terminal_size().columns if is_cut else None
    return table.text(width, has_colours=_has_colours(sys.stdout))


def _has_colours(stream: TextIO) -> bool:
    """Return whether a stream is a terminal with colours (no-color.org)."""
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not is_plain


def open_closed_streams() -> None:
    """Give each standard stream that was closed before the start a file of its own.

    No other file or connection can then take its place. Input and errors are empty; a command
    with output fails, as at a full disk, so that the secret of a token is not lost unnoticed.
    """
    streams = (
        ("stdin", "r", os.O_RDONLY),
        ("stdout", "w", os.O_RDONLY),
        ("stderr", "w", os.O_WRONLY),
    )
    for name, mode, flags in streams:
        if getattr(sys, name) is None:
            stream = open(os.open(os.devnull, flags), mode)  # noqa: SIM115  # open until the end
            setattr(sys, name, stream)


def duration(seconds: float) -> str:
    """Return a duration such as ``1h5m``, ``5m3s`` or ``3s``."""
    hours, rest = divmod(round(abs(seconds)), 3600)
    minutes, left = divmod(rest, 60)
    parts = [(hours, "h"), (minutes, "m"), (left, "s")]
    shown = [f"{number}{unit}" for number, unit in parts if number][:2] or ["0s"]
    return "-" * (seconds <= -0.5) + "".join(shown)


def progress(line: str) -> None:
    """Print a line for the user on stderr; it is not part of the output."""
    click.echo(escape(line), err=True)


def show_prompt(text: str) -> None:
    """Print a question on stderr, after which the user writes."""
    click.echo(escape(text), nl=False, err=True)


def warn(text: str) -> None:
    """Print a warning on stderr."""
    _show_marked("warning:", "yellow", text)


def show_error(text: str) -> None:
    """Print an error on stderr."""
    _show_marked("Error:", "red", text)


def _show_marked(word: str, colour: str, text: str) -> None:
    mark = click.style(word, fg=colour) if _has_colours(sys.stderr) else word
    click.echo(f"{mark} {escape(text)}", err=True)


def confirm(question: str) -> bool:
    """Print a question and return whether the answer is yes; the end of the input is a no."""
    return prompt(question, "yn") == "y"


def prompt(question: str, letters: str) -> str:
    """Print a question and read lines until one is an allowed letter, ``yes`` or ``no``.

    As in flytectl, other lines are ignored without a new prompt. The end of the input is a no.
    """
    show(question, nl=False)
    for line in sys.stdin:
        answer = {"yes": "y", "no": "n"}.get(line.strip().lower(), line.strip().lower())
        if answer and answer in tuple(letters):
            return answer
    return "n"
