"""Output to the terminal and prompts: tables, JSON, YAML, progress on stderr, questions."""

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar

import click
from pydantic import BaseModel

from trimtab.cli.configuration import Output, configured
from trimtab.cli.escaping import escape, to_json, to_yaml

B = TypeVar("B", bound=BaseModel)
F = TypeVar("F", bound=Callable[..., Any])
Columns = Mapping[str, Callable[[B], object]]

OUTPUTS = click.Choice(["table", "json", "yaml"], case_sensitive=False)


def output_option(default: Output | None = "table") -> Callable[[F], F]:
    """Add ``-o``; the command receives it as ``output``."""
    return click.option(
        "-o",
        "--output",
        type=OUTPUTS,
        default=lambda: configured().output or default,
        show_default=default or False,
        envvar="TRIMTAB_OUTPUT",
        help="Output format: table, json or yaml.  [env: TRIMTAB_OUTPUT]",
    )


def show_list(bodies: Sequence[B], output: Output, columns: Columns[B]) -> None:
    """Print objects of one type; an empty table is followed by a line on stderr."""
    if output != "table":
        show_data([body.model_dump(mode="json") for body in bodies], output)
        return
    rows = [[value(body) for value in columns.values()] for body in bodies]
    show(table(list(columns), rows))
    if not bodies:
        progress("there are none")


def show_data(data: Any, output: Literal["json", "yaml"]) -> None:
    """Print data for another program."""
    if output == "json":
        show(to_json(data, indent=2))
    else:
        show(to_yaml(data), nl=False)


def show(text: str, *, nl: bool = True) -> None:
    """Print text on stdout. What a terminal would not show as text is escaped."""
    click.echo(escape(text), nl=nl)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return left-aligned columns, separated by two blanks."""
    lines = [list(headings), *([cell(value) for value in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def cell(value: object) -> str:
    """Return a value as one line; an empty value is ``-``."""
    match value:
        case None | "" | () | []:
            return "-"
        case str():
            return escape(value.replace("\n", " ").replace("\t", " "))
        case list() | tuple():
            return ", ".join(map(cell, value))
        case bool() | dict():
            return to_json(value)
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S%z}"
        case _:
            return escape(str(value))


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
