"""Prompts on a terminal for the inputs of a workflow that a command line does not give."""

import sys
from collections.abc import Collection

import click
from pydantic import JsonValue

from trimtab.cli.configuration import Output
from trimtab.cli.escaping import to_json
from trimtab.cli.inputs import read_value
from trimtab.cli.terminal import progress, show_error, show_prompt
from trimtab.errors import Invalid
from trimtab.workflows.graphs.graph import Workflow
from trimtab.workflows.values.schemas import described

prompt_option = click.option(
    "--prompt/--no-prompt",
    "may_prompt",
    default=True,
    help="Prompt for missing inputs; default: on a terminal without --output.",
)


def can_prompt(output: Output | None, *, may_prompt: bool) -> bool:
    """Return whether a user is there to answer, and the output is not for a program."""
    is_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    return may_prompt and is_terminal and output in (None, "table")


def prompt_for_missing(workflow: Workflow, given: Collection[str]) -> dict[str, JsonValue]:
    """Return a value for each required input that is not among the given names.

    Raises ``click.Abort`` at the end of the input.
    """
    missing = [name for name in workflow.required if name not in given]
    if not missing:
        return {}
    for name, default in workflow.inputs.items():
        if name not in given and name not in missing:
            progress(f"{name} = {to_json(default)} by default; --input changes it")
    return {name: _prompt_for(name, workflow.schema_of(name)) for name in missing}


def _prompt_for(name: str, schema: dict[str, JsonValue]) -> JsonValue:
    if description := schema.get("description"):
        progress(f"{name}: {description}")
    while True:
        show_prompt(f"{name} ({described(schema)}): ")
        line = sys.stdin.readline()
        if not line.endswith("\n"):
            # The end of the input: nothing has happened, and nothing does.
            progress("")
            raise click.Abort
        if not (text := line.rstrip("\r\n")):
            continue
        try:
            return read_value(f"input {name}", text, schema)
        except Invalid as error:
            show_error(str(error))
