"""``trimtab explain execution``: every value of an execution, with its source."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import click

from trimtab.api.executions import ExecutionBody, NodeBody
from trimtab.cli.commands import example
from trimtab.cli.completion import complete_names
from trimtab.cli.configuration import Output
from trimtab.cli.server import Server, with_server
from trimtab.cli.tables import Table
from trimtab.cli.terminal import output_option, show, show_data
from trimtab.messages.resolutions import Resolution, ResolvedValue

_MOST_NAMED = 5
"""How many nodes with equal values a heading names."""


@click.command(
    "execution",
    epilog=example(
        "trimtab explain execution $EXECUTION", "trimtab explain execution $EXECUTION n0"
    ),
)
@click.argument("execution", metavar="ID", shell_complete=complete_names("executions"))
@click.argument("node", required=False, default="")
@output_option()
@with_server
def explain_execution(server: Server, execution: str, node: str, output: Output) -> None:
    """Show every value that the nodes of an execution run with, or one NODE, and its source."""
    body = server.call(lambda client: client.executions.get(execution, node=node))
    if output == "table":
        show(*_explanation(body))
    else:
        resolution = body.resolution and body.resolution.model_dump(mode="json")
        shown = {"id": body.id, "phase": body.phase, "resolution": resolution}
        if body.resolution_problem:
            shown["resolution_problem"] = body.resolution_problem
        show_data(shown, output)


def _explanation(execution: ExecutionBody) -> Iterator[str | Table]:
    yield (
        f"execution {execution.id} of {execution.workflow} version {execution.version} "
        f"in {execution.project}/{execution.domain}: {phase_text(execution)}"
    )
    if execution.error:
        yield execution.error
    if execution.resolution is None:
        yield execution.resolution_problem or "It was not admitted, so nothing was resolved."
        return
    yield from resolution_tables(execution.resolution, execution.nodes)


def resolution_tables(
    resolution: Resolution, nodes: Mapping[str, NodeBody] = MappingProxyType({})
) -> Iterator[str | Table]:
    """Yield the values in tables. Nodes share one where they have the same values and state."""
    yield f"settings at revision {resolution.revision}, executor {resolution.executor}"
    if resolution.isolation:
        yield f"isolation of tasks by {resolution.isolation}"
    if resolution.execution:
        yield "\nthe execution as a whole"
        yield _values_table(resolution.execution)
    for plan, values in resolution.plans.items():
        yield f"\nthe launch plan that {plan} calls"
        yield _values_table(values)
    for names in _groups(resolution, nodes):
        state = nodes.get(names[0])
        yield f"\n{_heading(names)}" + (f" {node_text(state)}" if state else "")
        yield _values_table(resolution.nodes[names[0]])


def _groups(resolution: Resolution, nodes: Mapping[str, NodeBody]) -> Iterable[Sequence[str]]:
    """Return the nodes that have the same values and state, in the order of the workflow."""
    groups: dict[object, list[str]] = {}
    for name, values in resolution.nodes.items():
        texts = tuple(each.model_dump_json() for each in values)
        state = nodes.get(name)
        groups.setdefault((texts, state and node_text(state)), []).append(name)
    return groups.values()


def _heading(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_MOST_NAMED])
    others = len(names) - _MOST_NAMED
    return f"{listed} and {others} more nodes:" if others > 0 else listed


def _values_table(values: Sequence[ResolvedValue]) -> Table:
    rows = [(v.path, v.value, v.source, v.scope, v.revision, v.note) for v in values]
    return Table(("FIELD", "VALUE", "FROM", "SCOPE", "REVISION", "NOTE"), rows)


def node_text(node: NodeBody) -> str:
    attempt = f", attempt {node.attempt + 1}" if node.attempt else ""
    reason = f": {node.reason}" if node.reason else ""
    return f"{node.task} {node.phase}{attempt}{reason}"


def phase_text(execution: ExecutionBody) -> str:
    """Return the phase, and where the execution stands while no propeller has claimed it."""
    if execution.position is None:
        return execution.phase
    where = f"{execution.project}/{execution.domain}"
    text = f"{execution.phase}, at position {execution.position} of those that wait in {where}"
    return f"{text}: {execution.reason}" if execution.reason else text
