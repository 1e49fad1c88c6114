"""``trimtab register|archive|unarchive|update project NAME``."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from trimtab.api.entities import ProjectBody
from trimtab.cli.changes import dry_run_text
from trimtab.cli.commands import Failure, dry_run_option, example
from trimtab.cli.completion import complete_names
from trimtab.cli.flytectl_projects import given, parse_label, project_options, update
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
@click.option("--display-name", default="", help="The name for people.")
@click.option("--description", default="", help="Description of the project.")
@dry_run_option
@with_server
def register_project(
    server: Server, name: str, display_name: str, description: str, dry_run: bool
) -> None:
    """Register a project, so that it can have settings and executions."""
    fields = {"name": name, "display_name": display_name, "description": description}
    body = parse_model(ProjectBody, fields)
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
    "project",
    epilog=example(
        "trimtab update project shop --label team=a --description Shop",
        "trimtab update project -p shop --name 'The shop' --force",
    ),
)
@click.argument("name", required=False, shell_complete=complete_names("projects"))
@project_options
@click.option(
    "--label",
    "changed_labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a label; KEY= removes it. Can be repeated.",
)
@click.option("--archive", "--archiveProject", "archived", is_flag=True, help="Archive it.")
@click.option(
    "--activate", "--activateProject", "activated", is_flag=True, help="Make it active again."
)
@dry_run_option
@click.option("--force", is_flag=True, help="With -p, --id or --file: change without a prompt.")
@with_server
def update_project(
    server: Server,
    name: str | None,
    changed_labels: Sequence[str],
    archived: bool,
    activated: bool,
    dry_run: bool,
    force: bool,
    **options: Any,
) -> None:
    """Change what the flags name of the project NAME; the rest is left unchanged.

    As flytectl, with -p, --id or --file in place of NAME: show the changes, and make them after a
    prompt; --labels are then all labels of the project.
    """
    if archived and activated:
        raise Failure("invalid state passed. Specify either activate or archive", Code.INVALID)
    state = {"state": "archived"} if archived else {"state": "active"} if activated else {}
    if name is None:
        if changed_labels:
            raise Failure(
                "--label is for a project that is given as NAME: use --labels", Code.INVALID
            )
        update(server, {**given(options), **state}, dry_run=dry_run, force=force)
        return
    if any(options[other] for other in ("id", "project", "file", "labels")):
        raise Failure("NAME takes the place of -p, --id, --file and --labels", Code.INVALID)
    changes = {key: value for key, value in given({**options, "id": name}).items() if key != "name"}
    if changed_labels:
        changes["labels"] = {key: value or None for key, value in map(parse_label, changed_labels)}
    if not (changes := {**changes, **state}):
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
