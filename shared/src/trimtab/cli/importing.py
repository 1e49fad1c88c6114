"""``trimtab import``: the settings of another control plane."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from trimtab.cli import flyte_extra
from trimtab.cli.commands import dry_run_option, example, reason_option
from trimtab.cli.flyte_extra import flyte_options
from trimtab.cli.groups import CommandGroup
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import output_option

_WORK = "trimtab.cli.flyte_imports"

import_ = CommandGroup(
    "import", member="source", help="Import the settings of another control plane."
)


def _import_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that every source has, and pass the server."""
    command = with_server(output_option()(reason_option(command)))
    return dry_run_option(
        click.option("--force", is_flag=True, help="Apply without a prompt.")(command)
    )


@import_.command(
    "flyte", epilog=example("trimtab import flyte --endpoint $FLYTE --insecure --dry-run")
)
@flyte_options
@click.option(
    "--configuration",
    "configurations",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A configuration file of flyteadmin; its values become records of the platform and of "
    "domains. Can be repeated.",
)
@click.option(
    "--keep-effective",
    is_flag=True,
    help="Extend the records, mostly by `unset`, so that they give the values that Flyte's give.",
)
@_import_options
def import_flyte(server: Server, **options: Any) -> None:
    """Import projects and all attributes of a running Flyte 1, by its own API.

    It shows what it would change, what it cannot import, and each target whose effective value is
    another one by inheritance field by field than by Flyte's rule; then it prompts. Only what
    differs is written, so that it can be repeated: after an interruption too.
    """
    flyte_extra.load(_WORK).import_flyte(server, **options)


@import_.command(
    "flyte2", epilog=example("trimtab import flyte2 --endpoint http://$FLYTE2 --dry-run")
)
@click.option("--endpoint", required=True, metavar="URL", help="Flyte 2's API.")
@click.option("--org", default="", help="The organization; default: that of the server.")
@click.option(
    "--flyte-token",
    envvar="TRIMTAB_FLYTE_TOKEN",
    hidden=True,
)
@click.option(
    "--only-domain",
    "domains",
    multiple=True,
    help="A domain to import; all by default. Can be repeated.",
)
@click.option(
    "--only-project",
    "projects",
    multiple=True,
    help="A project to import; all by default. Can be repeated.",
)
@_import_options
def import_flyte2(server: Server, **options: Any) -> None:
    """Import projects and settings of a running Flyte 2, by its own API.

    Its organization becomes the platform. It shows what it would change and what it cannot import;
    then it prompts. With both a project and a domain, no list of projects is needed.
    """
    flyte_extra.load(_WORK).import_flyte2(server, **options)
