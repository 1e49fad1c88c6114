"""``trimtab render task``: the pod that a node of an execution would get."""

from typing import Any

import click

from trimtab.cli.commands import example
from trimtab.cli.completion import complete_names
from trimtab.cli.configuration import Output
from trimtab.cli.execution_options import execution_options, read_request
from trimtab.cli.groups import CommandGroup
from trimtab.cli.prompting import can_prompt
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import output_option, show_data

render = CommandGroup(
    "render", member="object type", help="Show what the system would create on a cluster."
)


@render.command("task", epilog=example("trimtab render task pricing n0 -p shop -d development"))
@click.argument("workflow", shell_complete=complete_names("workflows"))
@click.argument("node")
@execution_options
@output_option(default="yaml")
@with_server
def render_task(
    server: Server, node: str, may_prompt: bool, output: Output, **options: Any
) -> None:
    """Print the pod that the first attempt of NODE would get, if WORKFLOW were executed now.

    A value that another node returns is not known yet: the pod has a text in its place.
    """
    request = read_request(server, options, prompts=can_prompt(output, may_prompt=may_prompt))
    found = server.call(lambda client: client.executions.dry_create(request, pod_of=node))
    show_data(found.pod, "json" if output == "json" else "yaml")
