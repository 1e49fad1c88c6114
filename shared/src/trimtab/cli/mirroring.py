"""``trimtab mirror flyte``: keep a running Flyte 1 in step with Trimtab."""

import click

from trimtab.cli.commands import Failure, dry_run_option, example
from trimtab.cli.configuration import Output
from trimtab.cli.flyte_options import FlyteServer, with_flyte
from trimtab.cli.groups import CommandGroup
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import output_option
from trimtab.client import Client

mirror = CommandGroup("mirror", help="Keep another control plane in step with Trimtab.")


@mirror.command(
    "flyte",
    epilog=example(
        "trimtab mirror flyte --endpoint $FLYTE --insecure --dry-run",
        "trimtab mirror flyte --endpoint $FLYTE --insecure --once",
    ),
)
@with_flyte
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
def mirror_flyte(
    server: Server,
    flyte: FlyteServer,
    once: bool,
    interval: int,
    allow_empty: bool,
    dry_run: bool,
    output: Output,
) -> None:
    """Write Trimtab's settings to a running Flyte 1, and follow their changes until Ctrl-C.

    Each project-domain and workflow gets the effective value as its row, so that flytepropeller
    reads what Trimtab would. Projects are registered, changed and archived too. Rows of projects
    that Trimtab does not have stay as they are. What Flyte cannot hold is reported on stderr. The
    command can be killed at any time, and started again. Each operation is one line; with -o json,
    a line of JSON.
    """
    # They import gRPC, which few commands need.
    from trimtab.cli.mirror_reports import MirrorReports  # noqa: PLC0415
    from trimtab.flyte.following import Mirror  # noqa: PLC0415

    reports = MirrorReports(output, dry_run=dry_run)

    async def run(client: Client) -> int:
        async with flyte.client() as admin:
            found = Mirror(client, admin, reports.show, dry_run=dry_run, allow_empty=allow_empty)
            if once or dry_run:
                return await found.compare_once()
            await found.follow(interval)
            return 0

    if refused := server.call(run):
        raise Failure(f"Flyte refused {refused} operations")
