"""Executions: ``trimtab execute`` and ``trimtab explain execution``."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click

from trimtab.api.executions import ExecutionBody, ExecutionCreate, NodeBody
from trimtab.cli.commands import Failure, dry_run_option, example
from trimtab.cli.completion import complete_names
from trimtab.cli.configuration import Output
from trimtab.cli.escaping import to_json
from trimtab.cli.inputs import choose_version
from trimtab.cli.inputs import read as read_inputs
from trimtab.cli.pairs import pairs, read_overrides
from trimtab.cli.prompting import can_prompt, prompt_for_missing, prompt_option
from trimtab.cli.registering import warn_of_credentials
from trimtab.cli.scopes import domain_option, project_option
from trimtab.cli.server import Server, with_server
from trimtab.cli.tables import Table
from trimtab.cli.terminal import output_option, progress, show, show_data
from trimtab.messages.resolutions import ResolvedValue
from trimtab.models import parse_model


@click.command(
    "execute", epilog=example("trimtab execute pricing -p shop -d development --input n=3")
)
@click.argument("workflow", shell_complete=complete_names("workflows"))
@project_option(required=True)
@domain_option(required=True)
@click.option("--version", help="Version of the workflow; default: the newest.")
@click.option(
    "--launch-plan",
    help="Execute the workflow through this launch plan.",
    shell_complete=complete_names("launch plans"),
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=VALUE",
    help="An input: the text itself where a string is declared, and JSON for any other type.",
)
@prompt_option
@click.option(
    "--override", "overrides", multiple=True, metavar="HOOK=JSON", help="Overrides for a hook."
)
@click.option(
    "--env",
    "environment",
    multiple=True,
    metavar="NAME=VALUE",
    help="An environment variable of every task.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="A label of the Kubernetes objects.",
)
@click.option(
    "--annotation",
    "annotations",
    multiple=True,
    metavar="KEY=VALUE",
    help="An annotation of the Kubernetes objects.",
)
@click.option("--max-parallelism", type=int, help="How many nodes may run at once.")
@click.option(
    "--interruptible/--no-interruptible",
    default=None,
    help="Whether every task may run on interruptible machines.",
)
@click.option(
    "--overwrite-cache/--no-overwrite-cache",
    default=None,
    help="Run every task and replace its cached output.",
)
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait until the execution has ended."
)
@dry_run_option
@output_option(default=None)
@with_server
def execute(
    server: Server,
    inputs: Sequence[str],
    overrides: Sequence[str],
    environment: Sequence[str],
    labels: Sequence[str],
    annotations: Sequence[str],
    may_prompt: bool,
    wait: bool,
    dry_run: bool,
    output: Output | None,
    **options: Any,
) -> None:
    """Execute a registered WORKFLOW, and print the id of the execution.

    --override trainer='{"resources": {"requests": {"cpu": "2"}}}' changes the node with the hook
    trainer, for this execution only.
    """
    prompts = can_prompt(output, may_prompt=may_prompt)
    content = {
        **options,
        **_inputs(server, dict(pairs("input", inputs)), options, prompts=prompts),
        "overrides": read_overrides(overrides),
        "environment": dict(pairs("env", environment)),
        "labels": dict(pairs("label", labels)),
        "annotations": dict(pairs("annotation", annotations)),
    }
    request = parse_model(ExecutionCreate, content)
    warn_of_credentials(request)
    if dry_run:
        _show_planned(server.call(lambda client: client.executions.dry_create(request)), output)
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


def _inputs(
    server: Server, texts: Mapping[str, str], options: Mapping[str, Any], *, prompts: bool
) -> dict[str, Any]:
    """Return the inputs, and the version of the workflow that they were read for."""
    if not texts and not prompts:
        return {}
    chosen = server.call(lambda client: choose_version(client, **options))
    values = read_inputs(chosen.workflow, texts)
    if prompts:
        values |= prompt_for_missing(chosen.workflow, {*values, *chosen.plan_inputs})
    return {"inputs": values, "version": chosen.workflow.version}


def _show_planned(execution: ExecutionBody, output: Output | None) -> None:
    """Print what an execution would begin with."""
    if output in ("json", "yaml"):
        show_data(execution.model_dump(mode="json", exclude={"resolution"}), output)
        return
    show(
        f"Would execute {execution.workflow} version {execution.version} through launch plan "
        f"{execution.launch_plan} in {execution.project}/{execution.domain} with inputs "
        f"{to_json(execution.inputs)}"
    )


def _progress_printer() -> Callable[[str, NodeBody], None]:
    """Return a function that prints each new state of a node once."""
    printed: dict[str, str] = {}

    def print_state(node: str, state: NodeBody) -> None:
        text = _node_text(state)
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


def _node_text(node: NodeBody) -> str:
    attempt = f", attempt {node.attempt + 1}" if node.attempt else ""
    reason = f": {node.reason}" if node.reason else ""
    return f"{node.task} {node.phase}{attempt}{reason}"


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
            progress(f"execution {execution.id} is {_phase_text(execution)}")


def _phase_text(execution: ExecutionBody) -> str:
    """Return the phase, and where the execution stands while no propeller has claimed it."""
    if execution.position is None:
        return execution.phase
    where = f"{execution.project}/{execution.domain}"
    text = f"{execution.phase}, at position {execution.position} of those that wait in {where}"
    return f"{text}: {execution.reason}" if execution.reason else text


def _show(execution: ExecutionBody, output: Output) -> None:
    if output != "table":
        show_data(execution.model_dump(mode="json", exclude={"resolution"}), output)
        return
    rows = [
        (id, node.task, node.phase, to_json(node.output), node.reason)
        for id, node in execution.nodes.items()
    ]
    show(Table(("NODE", "TASK", "PHASE", "OUTPUT", "REASON"), rows))


@click.command("execution", epilog=example("trimtab explain execution $EXECUTION"))
@click.argument("execution", metavar="ID", shell_complete=complete_names("executions"))
@output_option()
@with_server
def explain_execution(server: Server, execution: str, output: Output) -> None:
    """Show every value that each node of an execution runs with, and its source."""
    body = server.call(lambda client: client.executions.get(execution))
    if output == "table":
        show(*_explanation(body))
    else:
        resolution = body.resolution and body.resolution.model_dump(mode="json")
        show_data({"id": body.id, "phase": body.phase, "resolution": resolution}, output)


def _explanation(execution: ExecutionBody) -> Iterator[str | Table]:
    yield (
        f"execution {execution.id} of {execution.workflow} version {execution.version} "
        f"in {execution.project}/{execution.domain}: {_phase_text(execution)}"
    )
    if execution.error:
        yield execution.error
    if execution.resolution is None:
        yield "It was not admitted, so nothing was resolved."
        return
    resolution = execution.resolution
    yield f"settings at revision {resolution.revision}, executor {resolution.executor}"
    if resolution.isolation:
        yield f"isolation of tasks by {resolution.isolation}"
    if resolution.execution:
        yield "\nthe execution as a whole"
        yield _values_table(resolution.execution)
    for node, values in resolution.nodes.items():
        state = execution.nodes.get(node)
        yield f"\n{node}" + (f" {_node_text(state)}" if state else "")
        yield _values_table(values)


def _values_table(values: Sequence[ResolvedValue]) -> Table:
    rows = [(v.path, v.value, v.source, v.scope, v.revision, v.note) for v in values]
    return Table(("FIELD", "VALUE", "FROM", "SCOPE", "REVISION", "NOTE"), rows)
