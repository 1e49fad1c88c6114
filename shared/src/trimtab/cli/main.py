"""The tree of all commands of ``trimtab``."""

import os
import sys

import click

from trimtab.cli import attributes, pools, queues, updating
from trimtab.cli.access import audit, token
from trimtab.cli.asyncapi import asyncapi
from trimtab.cli.completion import completion
from trimtab.cli.contexts import config
from trimtab.cli.doctor import doctor
from trimtab.cli.documents import apply, diff, export
from trimtab.cli.editing import edit
from trimtab.cli.effective import effective, explain_kind
from trimtab.cli.explanations import explain_execution
from trimtab.cli.flytectl_projects import create
from trimtab.cli.groups import DefaultCommandGroup, SectionedGroup
from trimtab.cli.history import history, rollback, watch
from trimtab.cli.importing import import_
from trimtab.cli.kinds import KindGroup
from trimtab.cli.launch_forms import form
from trimtab.cli.listings import LISTINGS
from trimtab.cli.maintenance import dead, resync
from trimtab.cli.mirroring import mirror
from trimtab.cli.namespaces import namespaces
from trimtab.cli.projects import archive, register_project, unarchive, update_project
from trimtab.cli.registering import register_files
from trimtab.cli.rendering import render
from trimtab.cli.running import run
from trimtab.cli.status import status, version
from trimtab.cli.templates import templates
from trimtab.cli.terminal import open_closed_streams, show_error
from trimtab.cli.up import up
from trimtab.cli.workflows import execute
from trimtab.errors import Code
from trimtab.release import VERSION

cli = SectionedGroup(
    "trimtab",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""The control plane for customizable resources of a workflow platform.

    A flag takes precedence over its environment variable, that over the configuration file, and
    that over the embedded system of ./.trimtab. The flags below can be given before or after the
    command.
    """,
)

get = KindGroup(
    "get",
    attributes.get_command,
    member="kind or object type",
    help="Show settings of a kind, or list other objects.",
)
update = KindGroup(
    "update",
    updating.update_command,
    member="kind or object type",
    plurals=False,
    help="Change settings of a kind from a file, or another object.",
)
delete = KindGroup(
    "delete",
    attributes.delete_command,
    member="kind or object type",
    help="Delete settings of a kind, a pool or a queue.",
)

for _command in LISTINGS:
    get.add_command(_command)
    get.add_alias(str(_command.name).removesuffix("s"), _command)
for _command in (update_project, pools.update_pool, pools.update_token, queues.update_queue):
    update.add_command(_command)
delete.add_command(pools.delete_pool)
delete.add_command(queues.delete_queue)
explain = DefaultCommandGroup(
    "explain",
    [explain_kind, explain_execution],
    default="kind",
    help="Show where the values of a KIND, or of an execution, come from.",
)
register = DefaultCommandGroup(
    "register",
    [register_project, register_files],
    default="files",
    help="Register a project, or the workflows of Python files.",
)

cli.add_section("Settings of one kind", get, update, edit, delete, explain, history, rollback)
cli.add_section("All settings", apply, diff, export, import_, effective, watch)
cli.add_section(
    "Projects, workflows, executions",
    register,
    create,
    archive,
    unarchive,
    form,
    execute,
    render,
    run,
)
cli.add_section("Pools and namespaces", pools.describe, pools.release, namespaces, templates)
cli.add_section("Flyte", mirror)
cli.add_section("Access", token, audit)
cli.add_section(
    "The system", up, status, doctor, version, config, dead, resync, asyncapi, completion
)


click.version_option(VERSION, prog_name="trimtab", message="%(prog)s %(version)s")(cli)


def main() -> None:
    """Run the command line.

    An error of the system that no command expects, such as that of a full disk, has no traceback.
    """
    open_closed_streams()
    try:
        cli.main(prog_name="trimtab")
    except OSError as error:
        show_error(str(error))
        # What is still in the buffer of the output would fail once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(Code.INTERNAL.exit_code)
