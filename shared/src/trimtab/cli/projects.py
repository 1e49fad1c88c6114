"""``trimtab register|archive|unarchive|update project NAME``."""

from collections.abc import Mapping, Sequence

import click

from trimtab.api.entities import ProjectBody
from trimtab.cli.changes import dry_run_text
from trimtab.cli.commands import Failure, dry_run_option, example
from trimtab.cli.completion import complete_names
from trimtab.cli.groups import CommandGroup
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import show
from trimtab.errors import Code
from trimtab.models import parse_model

archive = CommandGroup("archive", member="object type", help="Archive a project.")
unarchive = CommandGroup(
    "unarchive", member="object type", help="Make an archived project active again."
)

_name = click.argument("name", shell_complete=complete_names("projects"))


@click.command("project", epilog=example("trimtab register project store"))
@click.argument("name")
@click.option("--description", default="", help="Description of the project.")
@dry_run_option
@with_server
def register_project(server: Server, name: str, description: str, dry_run: bool) -> None:
    """Register a project, so that it can have settings and executions."""
    body = parse_model(ProjectBody, {"name": name, "description": description})
    if dry_run:
        show(dry_run_text(server.call(lambda client: client.projects.dry_create(body))))
        return
    registered = server.call(lambda client: client.projects.create(body))
    show(f"Registered project {registered.name}")


@archive.command("project", epilog=example("trimtab archive project shop"))
@_name
@dry_run_option
@with_server
def archive_project(server: Server, name: str, dry_run: bool) -> None:
    """Forbid new executions in a project. Its settings are kept.

    Its namespaces are kept or deleted as `prune` of each cluster has it; `trimtab namespaces prune`
    confirms what is to be deleted.
    """
    _patch(server, name, {"state": "archived"}, f"Archived project {name}", dry_run)


@unarchive.command("project", epilog=example("trimtab unarchive project shop"))
@_name
@dry_run_option
@with_server
def unarchive_project(server: Server, name: str, dry_run: bool) -> None:
    """Allow executions in an archived project again."""
    _patch(server, name, {"state": "active"}, f"Unarchived project {name}", dry_run)


@click.command(
    "project", epilog=example("trimtab update project shop --label team=a --description Shop")
)
@_name
@click.option("--description", help="New description of the project.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a label; KEY= removes it. Can be repeated.",
)
@dry_run_option
@with_server
def update_project(
    server: Server, name: str, description: str | None, labels: Sequence[str], dry_run: bool
) -> None:
    """Change the description or single labels of a project; others are left unchanged."""
    changes: dict[str, object] = {}
    if description is not None:
        changes["description"] = description
    if labels:
        changes["labels"] = dict(map(_parse_label, labels))
    if not changes:
        raise Failure("nothing to change: use --description or --label", Code.INVALID)
    _patch(server, name, changes, f"Updated project {name}", dry_run)


def _patch(
    server: Server, name: str, changes: Mapping[str, object], done: str, dry_run: bool
) -> None:
    if dry_run:
        show(dry_run_text(server.call(lambda client: client.projects.dry_patch(name, changes))))
        return
    server.call(lambda client: client.projects.patch(name, changes))
    show(done)


def _parse_label(text: str) -> tuple[str, str | None]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise Failure(f"--label {text!r} is not KEY=VALUE", Code.INVALID)
    return key, value or None
