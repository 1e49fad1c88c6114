"""``trimtab mirror flyte``: keep a running Flyte 1 in step with Trimtab."""

from typing import Any

import click

from trimtab.cli import flyte_extra
from trimtab.cli.commands import dry_run_option, example
from trimtab.cli.flyte_extra import flyte_options
from trimtab.cli.groups import CommandGroup
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import output_option

mirror = CommandGroup("mirror", help="Keep another control plane in step with Trimtab.")


@mirror.command(
    "flyte",
    epilog=example(
        "trimtab mirror flyte --endpoint $FLYTE --insecure --dry-run",
        "trimtab mirror flyte --endpoint $FLYTE --insecure --once",
    ),
)
@flyte_options
@click.option("--once", is_flag=True, help="End when Flyte is in step.")
@click.option(
    "--interval",
    type=click.IntRange(1),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="Compare everything again after this time, in addition to what changes.",
)
@click.option(
    "--allow-empty",
    is_flag=True,
    help="Delete all rows of Flyte where Trimtab has no settings at all.",
)
@dry_run_option
@output_option()
@with_server
def mirror_flyte(server: Server, **options: Any) -> None:
    """Write Trimtab's settings to a running Flyte 1, and follow their changes until Ctrl-C.

    Each project-domain and workflow gets the effective value as its row, so that flytepropeller
    reads what Trimtab would. Projects are registered, changed and archived too. Rows of projects
    that Trimtab does not have stay as they are. What Flyte cannot hold is reported on stderr. The
    command can be killed at any time, and started again. Each operation is one line; with -o json,
    a line of JSON.
    """
    flyte_extra.load("trimtab.cli.flyte_mirroring").mirror_flyte(server, **options)
