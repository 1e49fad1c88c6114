"""``trimtab run FILE WORKFLOW``: a workflow in this process, without a server."""

import contextlib
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
from pydantic import JsonValue

from trimtab.cli.commands import Failure, example
from trimtab.cli.configuration import Output
from trimtab.cli.escaping import to_json
from trimtab.cli.inputs import read as read_inputs
from trimtab.cli.pairs import input_option, override_option, pairs, read_overrides
from trimtab.cli.prompting import can_prompt, prompt_for_missing, prompt_option
from trimtab.cli.terminal import output_option, progress, show, show_data
from trimtab.errors import NotFound
from trimtab.workflows.code.bad_modules import describe_error, place_of, shown_path
from trimtab.workflows.code.loader import blamed, loaded
from trimtab.workflows.code.module_contents import Definitions
from trimtab.workflows.definitions.workflow_functions import WorkflowFunction
from trimtab.workflows.local_runs import LocalRun, NodeFailure


@click.command("run", epilog=example("trimtab run pricing.py pricing --input n=3"))
@click.argument("path", metavar="FILE|DIR", type=click.Path(path_type=Path))
@click.argument("workflow", required=False)
@input_option
@prompt_option
@override_option
@output_option()
def run(
    path: Path,
    workflow: str | None,
    inputs: Sequence[str],
    overrides: Sequence[str],
    may_prompt: bool,
    output: Output,
) -> None:
    """Run a WORKFLOW of a FILE or DIR in this process, and print its output.

    No server is needed. WORKFLOW can be omitted where there is only one. Types, inputs and hooks
    are checked as for `trimtab execute`; the calls run one after the other, once, without limits
    and pools. Only the environment of overrides has an effect.
    """
    texts = dict(pairs("input", inputs))
    with loaded(path) as definitions:
        with blamed(definitions.code):
            known = definitions.workflows
        defined = _select(known, workflow)
        with blamed(definitions.code):
            registered = defined.graph("local", "")
        local = LocalRun.of(defined, read_overrides(overrides))
        values = read_inputs(registered, texts)
        if can_prompt(output, may_prompt=may_prompt):
            values |= prompt_for_missing(registered, values)
        with _output_of_tasks(output):
            value = _run(definitions, local, values)
    if output == "table":
        show(to_json(value))
    else:
        show_data(value, output)


def _select(known: Mapping[str, WorkflowFunction], name: str | None) -> WorkflowFunction:
    if name is None:
        if len(known) > 1:
            raise click.UsageError(f"name one of the workflows: {', '.join(known)}")
        return next(iter(known.values()))
    if name not in known:
        raise NotFound.among("workflow", name, known)
    return known[name]


def _run(definitions: Definitions, local: LocalRun, inputs: Mapping[str, JsonValue]) -> JsonValue:
    try:
        return local.run(inputs, lambda node: progress(f"{node.id} {node.task} succeeded"))
    except NodeFailure as failure:
        raise Failure(_report(definitions, failure)) from failure


def _report(definitions: Definitions, failure: NodeFailure) -> str:
    """Print the traceback from the first line of the user's code on, and return its summary."""
    code, error = definitions.code, failure.error
    paths = {str(code.root / path) for path in code.files} | {str(definitions.given)}
    place = place_of(error, paths)
    position = "" if place is None else f" ({shown_path(place.path)}, line {place.line})"
    if place is not None:
        for line in _traceback(error, paths):
            progress(line)
    return f"{failure.node} {failure.task} failed: {describe_error(error)}{position}"


def _traceback(error: BaseException, paths: set[str]) -> Iterator[str]:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename not in paths:
        trace = trace.tb_next
    text = "".join(traceback.format_exception(error.with_traceback(trace)))
    yield from text.rstrip().splitlines()


@contextlib.contextmanager
def _output_of_tasks(output: Output) -> Iterator[None]:
    """Let stdout have only the document, where the output is one for a program."""
    if output == "table":
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield
