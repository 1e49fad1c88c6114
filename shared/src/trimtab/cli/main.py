"""The command ``trimtab`` put together."""

from pathlib import Path

import click

from trimtab.cli import attributes, entities, pools
from trimtab.cli.access import audit, token
from trimtab.cli.applying import apply, diff, export
from trimtab.cli.archiving import archive, unarchive, update_project
from trimtab.cli.asyncapi import asyncapi
from trimtab.cli.completion import completion
from trimtab.cli.configuration import VARIABLE
from trimtab.cli.editing import edit
from trimtab.cli.effective import effective, explain_kind
from trimtab.cli.executions import execute, explain_execution
from trimtab.cli.groups import Defaulting, Nouns, Sections
from trimtab.cli.operations import dead, resync
from trimtab.cli.registration import register
from trimtab.cli.revisions import history, rollback, watch
from trimtab.cli.up import up


@click.group("trimtab", cls=Sections)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar=VARIABLE,
    help="File with server, token_file, project, domain and output: what is said for flags that "
    f"are not given. ~/.config/trimtab/config.yaml where absent.  [env: {VARIABLE}]",
)
def cli(config: Path | None) -> None:
    """The control plane for customizable resources of a workflow platform.

    A flag comes before the environment, that before the configuration file, that before the
    embedded system of ./.trimtab.
    """


get = Nouns(
    "get",
    attributes.get_command,
    what="kind or noun",
    help="Show settings of a kind, or what there is.",
)
update = Nouns(
    "update", attributes.update_command, aliases=False, help="Change settings of a kind by a file."
)
delete = Nouns(
    "delete",
    attributes.delete_command,
    what="kind or noun",
    help="Remove settings of a kind, or a pool.",
)

for _command in entities.GET:
    get.add_command(_command)
    get.add_alias(str(_command.name).removesuffix("s"), _command)
for _command in (update_project, pools.update_pool, pools.update_token):
    update.add_command(_command)
delete.add_command(pools.delete_pool)
explain = Defaulting(
    "explain",
    [explain_kind, explain_execution],
    default="kind",
    help="Say where values of a KIND come from, or those of an execution.",
)

cli.add_section("Settings of one kind", get, update, edit, delete, explain, history, rollback)
cli.add_section("All settings", apply, diff, export, effective, watch)
cli.add_section("Projects, workflows, executions", register, archive, unarchive, execute)
cli.add_section("Pools", pools.describe, pools.release)
cli.add_section("Access", token, audit)
cli.add_section("The system", up, dead, resync, asyncapi, completion)


def main() -> None:
    cli.main(prog_name="trimtab")
