"""``trimtab execute WORKFLOW`` and ``trimtab explain execution ID``."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click
from pydantic import JsonValue

from trimtab.api.executions import ExecutionBody, ExecutionCreate, NodeBody
from trimtab.cli.configuration import Output
from trimtab.cli.failures import Failure, example
from trimtab.cli.places import domain_option, project_option
from trimtab.cli.rendering import output_option, progress, show_data, table
from trimtab.cli.target import Target, connected
from trimtab.client import Client
from trimtab.errors import Invalid, Unavailable
from trimtab.messages.executions import ENDED, Resolved
from trimtab.models import parse_model
from trimtab.workflows.graph import NodeOverrides

POLL_SECONDS = 0.15
PATIENCE_SECONDS = 30.0
"""How long admin may be away while an execution is waited for."""


@click.command(
    "execute", epilog=example("trimtab execute pricing -p shop -d development --input n=3")
)
@click.argument("workflow")
@project_option(required=True)
@domain_option(required=True)
@click.option("--version", help="Of the workflow; the newest where absent.")
@click.option("--launch-plan", help="Run the workflow as this launch plan.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=JSON", help="An input.")
@click.option("--override", "overrides", multiple=True, metavar="HOOK=JSON", help="For a hook.")
@click.option("--env", "environment", multiple=True, metavar="NAME=VALUE", help="For every task.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Of its objects.")
@click.option(
    "--annotation", "annotations", multiple=True, metavar="KEY=VALUE", help="Of its objects."
)
@click.option("--max-parallelism", type=int, help="How many nodes may run at once.")
@click.option("--interruptible/--no-interruptible", default=None, help="Of every task.")
@click.option("--overwrite-cache/--no-overwrite-cache", default=None, help="Run every task again.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until it has ended.")
@output_option(default=None)
@connected
def execute(
    target: Target,
    inputs: Sequence[str],
    overrides: Sequence[str],
    environment: Sequence[str],
    labels: Sequence[str],
    annotations: Sequence[str],
    wait: bool,
    output: Output | None,
    **wanted: Any,
) -> None:
    """Run a registered WORKFLOW, and print the id of the execution.

    --override trainer='{"resources": {"requests": {"cpu": "2"}}}' changes the node that was hooked
    as trainer, for this execution alone.
    """
    content = {
        **wanted,
        "inputs": {name: _json(f"input {name}", text) for name, text in _pairs("input", inputs)},
        "overrides": {hook: _overrides(hook, text) for hook, text in _pairs("override", overrides)},
        "environment": dict(_pairs("env", environment)),
        "labels": dict(_pairs("label", labels)),
        "annotations": dict(_pairs("annotation", annotations)),
    }
    request = parse_model(ExecutionCreate, content)
    execution = target.call(lambda client: client.executions.create(request))
    if output is None:
        click.echo(execution.id)
    if wait:
        waiting_for = execution.id
        execution = target.call(lambda client: _ended(client, waiting_for))
    if output is not None:
        _show(execution, output)
    _report(execution)


@click.command("execution", epilog=example("trimtab explain execution $EXECUTION"))
@click.argument("execution", metavar="ID")
@output_option()
@connected
def explain_execution(target: Target, execution: str, output: Output) -> None:
    """Every value that each node of an execution runs with, and where it is from."""
    found = target.call(lambda client: client.executions.get(execution))
    if output == "table":
        click.echo("\n".join(_explained(found)))
    else:
        resolution = found.resolution and found.resolution.model_dump(mode="json")
        show_data({"id": found.id, "phase": found.phase, "resolution": resolution}, output)


def _pairs(option: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise Invalid(f"--{option}", text, "NAME=VALUE")
        yield name, value


def _json(path: str, text: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
    except ValueError as error:
        raise Invalid(path, text, """JSON, such as 3, true, "text" or {"key": 1}""") from error
    return value


def _overrides(hook: str, text: str) -> NodeOverrides:
    path = f"override {hook}"
    content = _json(path, text)
    if not isinstance(content, dict):
        raise Invalid(path, content, "an object: " + ", ".join(NodeOverrides.model_fields))
    try:
        return parse_model(NodeOverrides, content)
    except Invalid as error:
        raise Invalid(f"{path}: {error.path}", error.value, error.allowed) from error


async def _ended(client: Client, execution: str) -> ExecutionBody:
    """The execution when it has ended; what happens until then is told as progress."""
    told: dict[str, str] = {}
    heard = time.monotonic()
    while True:
        try:
            body = await client.executions.get(execution)
        except Unavailable:
            # The execution goes on without admin.
            if time.monotonic() - heard > PATIENCE_SECONDS:
                raise
        else:
            heard = time.monotonic()
            for node, state in body.nodes.items():
                if told.get(node) != (now := _state(state)) and _is_news(state):
                    told[node] = now
                    progress(f"  {node} {now}")
            if body.phase in ENDED:
                return body
        await asyncio.sleep(POLL_SECONDS)


def _is_news(node: NodeBody) -> bool:
    """A node that only waits for its turn is none."""
    return node.phase != "waiting" or bool(node.reason)


def _state(node: NodeBody) -> str:
    attempt = f", attempt {node.attempt + 1}" if node.attempt else ""
    reason = f": {node.reason}" if node.reason else ""
    return f"{node.task} {node.phase}{attempt}{reason}"


def _report(execution: ExecutionBody) -> None:
    match execution.phase:
        case "succeeded":
            output = json.dumps(execution.output, ensure_ascii=False)
            progress(f"execution {execution.id} succeeded: {output}")
        case "failed":
            raise Failure(f"execution {execution.id} failed: {execution.error}")
        case "refused":
            raise Failure(f"execution {execution.id} was refused: {execution.error}")
        case _:
            progress(f"execution {execution.id} is {execution.phase}")


def _show(execution: ExecutionBody, output: Output) -> None:
    if output != "table":
        show_data(execution.model_dump(mode="json", exclude={"resolution"}), output)
        return
    rows = [
        (id, node.task, node.phase, json.dumps(node.output), node.reason)
        for id, node in execution.nodes.items()
    ]
    click.echo(table(("NODE", "TASK", "PHASE", "OUTPUT", "REASON"), rows))


def _explained(execution: ExecutionBody) -> Iterator[str]:
    yield (
        f"execution {execution.id} of {execution.workflow} version {execution.version} "
        f"in {execution.project}/{execution.domain}: {execution.phase}"
    )
    if execution.error:
        yield execution.error
    if execution.resolution is None:
        yield "It was not admitted, so nothing was resolved."
        return
    resolution = execution.resolution
    yield f"settings at revision {resolution.revision}, executor {resolution.executor}"
    if resolution.execution:
        yield "\nthe execution as a whole"
        yield _values(resolution.execution)
    for node, values in resolution.nodes.items():
        state = execution.nodes.get(node)
        yield f"\n{node}" + (f" {_state(state)}" if state else "")
        yield _values(values)


def _values(values: Sequence[Resolved]) -> str:
    rows = [(v.path, v.value, v.source, v.scope, v.revision, v.note) for v in values]
    return table(("FIELD", "VALUE", "FROM", "SCOPE", "REVISION", "NOTE"), rows)
