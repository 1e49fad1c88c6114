"""The parts of commands that call a Flyte: their flags, and the extra ``trimtab[flyte]``."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click

from trimtab.errors import Rejected


def load(name: str) -> ModuleType:
    """Import a module of Trimtab. Raises `Rejected` where the extra is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "trimtab":
            raise
        raise Rejected(
            f"this command needs the messages of Flyte and gRPC ({error.name} is missing): "
            "pip install 'trimtab[flyte]'"
        ) from error


def flyte_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that select a running Flyte 1 and authenticate its calls."""
    for option in (
        click.option("--flyte-token", envvar="TRIMTAB_FLYTE_TOKEN", hidden=True),
        click.option(
            "--token-file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A file with the token for Flyte.  [env of the token: TRIMTAB_FLYTE_TOKEN]",
        ),
        click.option(
            "--token-command",
            metavar="COMMAND",
            help="A program that prints the token for Flyte, with its arguments.",
        ),
        click.option(
            "--ca-file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Certificates to trust; default: those of the system.",
        ),
        click.option("--insecure", is_flag=True, help="Connect without TLS."),
        click.option(
            "--endpoint",
            required=True,
            metavar="HOST:PORT",
            help="Flyte's gRPC, as flytectl has it.",
        ),
    ):
        command = option(command)
    return command
