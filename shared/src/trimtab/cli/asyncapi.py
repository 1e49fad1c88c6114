"""``trimtab asyncapi``."""

import click

from trimtab.cli.asyncapi_document import document
from trimtab.cli.commands import example
from trimtab.cli.terminal import show_data


@click.command("asyncapi", epilog=example("trimtab asyncapi"))
def asyncapi() -> None:
    """Print what is said on NATS, as an AsyncAPI document."""
    show_data(document(), "json")
