"""How answers are shown: tables, JSON, YAML; and progress, which goes to stderr."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import click
import yaml
from pydantic import BaseModel

from trimtab.cli.configuration import Output, configured

B = TypeVar("B", bound=BaseModel)
F = TypeVar("F", bound=Callable[..., Any])
Columns = Mapping[str, Callable[[B], object]]

_OUTPUTS = click.Choice(["table", "json", "yaml"], case_sensitive=False)


def output_option(default: Output | None = "table") -> Callable[[F], F]:
    """Adds ``-o``; the command gets it as ``output``."""
    return click.option(
        "-o",
        "--output",
        type=_OUTPUTS,
        default=lambda: configured().output or default,
        show_default=default or False,
        envvar="TRIMTAB_OUTPUT",
        help="Format.  [env: TRIMTAB_OUTPUT]",
    )


def reason_option(command: F) -> F:
    """Adds ``--reason``."""
    return click.option("--reason", default="", help="Why; kept in the history.")(command)


def show_list(bodies: Sequence[B], output: Output, columns: Columns[B]) -> None:
    """Many things of one sort; an empty table says so on stderr."""
    if output != "table":
        show_data([body.model_dump(mode="json") for body in bodies], output)
        return
    rows = [[value(body) for value in columns.values()] for body in bodies]
    click.echo(table(list(columns), rows))
    if not bodies:
        progress("there are none")


def show_data(data: Any, output: Literal["json", "yaml"]) -> None:
    """What a program reads."""
    if output == "json":
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        click.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as they need, two blanks apart."""
    lines = [list(headings), *([cell(value) for value in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def cell(value: object) -> str:
    """One value on one line; what is absent is ``-``."""
    match value:
        case None | "" | () | []:
            return "-"
        case str():
            return value.replace("\n", " ")
        case list() | tuple():
            return ", ".join(map(cell, value))
        case bool() | dict():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)


def progress(line: str) -> None:
    """For the person who waits; never part of the answer."""
    click.echo(line, err=True)
