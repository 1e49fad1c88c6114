"""``trimtab execute``: an execution of a registered workflow."""

from collections.abc import Callable
from typing import Any

import click

from trimtab.api.executions import ExecutionBody, NodeBody
from trimtab.cli.commands import Failure, dry_run_option, example
from trimtab.cli.completion import complete_names
from trimtab.cli.configuration import Output
from trimtab.cli.escaping import to_json
from trimtab.cli.execution_options import execution_options, read_request
from trimtab.cli.explanations import node_text, phase_text, resolution_tables
from trimtab.cli.prompting import can_prompt
from trimtab.cli.server import Server, with_server
from trimtab.cli.tables import Table
from trimtab.cli.terminal import output_option, progress, show, show_data


@click.command(
    "execute", epilog=example("trimtab execute pricing -p shop -d development --input n=3")
)
@click.argument("workflow", shell_complete=complete_names("workflows"))
@execution_options
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait until the execution has ended."
)
@dry_run_option
@output_option(default=None)
@with_server
def execute(
    server: Server,
    may_prompt: bool,
    wait: bool,
    dry_run: bool,
    output: Output | None,
    **options: Any,
) -> None:
    """Execute a registered WORKFLOW, and print the id of the execution.

    --override trainer='{"resources": {"requests": {"cpu": "2"}}}' changes the node with the hook
    trainer, for this execution only. --dry-run shows every value that it would run with.
    """
    request = read_request(server, options, prompts=can_prompt(output, may_prompt=may_prompt))
    if dry_run:
        _show_dry_run(server.call(lambda client: client.executions.dry_create(request)), output)
        return
    execution = server.call(lambda client: client.executions.create(request))
    if output is None:
        show(execution.id)
    if wait:
        id_, on_node, on_reason = execution.id, _progress_printer(), _reason_printer()
        execution = server.call(lambda client: client.executions.wait(id_, on_node, on_reason))
    if output is not None:
        _show(execution, output)
    _report_phase(execution)


def _show_dry_run(execution: ExecutionBody, output: Output | None) -> None:
    """Print what an execution would begin with, and every value that it would run with."""
    if output in ("json", "yaml"):
        show_data(execution.model_dump(mode="json"), output)
        return
    show(
        f"Would execute {execution.workflow} version {execution.version} through launch plan "
        f"{execution.launch_plan} in {execution.project}/{execution.domain} with inputs "
        f"{to_json(execution.inputs)}"
    )
    if execution.resolution is not None:
        show(*resolution_tables(execution.resolution))


def _progress_printer() -> Callable[[str, NodeBody], None]:
    """Return a function that prints each new state of a node once."""
    printed: dict[str, str] = {}

    def print_state(node: str, state: NodeBody) -> None:
        text = node_text(state)
        if printed.get(node) != text and _is_reported(state):
            printed[node] = text
            progress(f"  {node} {text}")

    return print_state


def _reason_printer() -> Callable[[str], None]:
    """Return a function that prints each new reason why the execution is not claimed."""
    printed = ""

    def print_reason(reason: str) -> None:
        nonlocal printed
        if reason != printed:
            printed = reason
            progress(f"  waiting: {reason}")

    return print_reason


def _is_reported(node: NodeBody) -> bool:
    """Whether the state is worth a line: not for a node that waits for other nodes only."""
    return node.phase != "waiting" or bool(node.reason)


def _report_phase(execution: ExecutionBody) -> None:
    """Print the phase as progress. Raises `Failure` where the execution failed or was refused."""
    match execution.phase:
        case "succeeded":
            output = to_json(execution.output)
            progress(f"execution {execution.id} succeeded: {output}")
        case "failed":
            raise Failure(f"execution {execution.id} failed: {execution.error}")
        case "refused":
            raise Failure(f"execution {execution.id} was refused: {execution.error}")
        case _:
            progress(f"execution {execution.id} is {phase_text(execution)}")


def _show(execution: ExecutionBody, output: Output) -> None:
    if output != "table":
        show_data(execution.model_dump(mode="json", exclude={"resolution"}), output)
        return
    rows = [
        (id, node.task, node.phase, to_json(node.output), node.reason)
        for id, node in execution.nodes.items()
    ]
    show(Table(("NODE", "TASK", "PHASE", "OUTPUT", "REASON"), rows))
