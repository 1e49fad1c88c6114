"""``trimtab archive|unarchive project NAME`` and ``trimtab update project NAME``."""

from collections.abc import Sequence

import click

from trimtab.cli.completion import names_of
from trimtab.cli.failures import USAGE, Commands, Failure, example
from trimtab.cli.target import Target, connected

archive = Commands("archive", what="noun", help="Put a project to rest.")
unarchive = Commands("unarchive", what="noun", help="Take a project up again.")

_name = click.argument("name", shell_complete=names_of("projects"))


@archive.command("project", epilog=example("trimtab archive project shop"))
@_name
@connected
def archive_project(target: Target, name: str) -> None:
    """Let nothing be executed in a project any more. Its settings and namespaces stay."""
    target.call(lambda client: client.projects.archive(name))
    click.echo(f"Archived project {name}")


@unarchive.command("project", epilog=example("trimtab unarchive project shop"))
@_name
@connected
def unarchive_project(target: Target, name: str) -> None:
    """Let things be executed in a project again."""
    target.call(lambda client: client.projects.unarchive(name))
    click.echo(f"Unarchived project {name}")


@click.command(
    "project", epilog=example("trimtab update project shop --label team=a --description Shop")
)
@_name
@click.option("--description", help="What it is for.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="KEY= removes it.")
@connected
def update_project(
    target: Target, name: str, description: str | None, labels: Sequence[str]
) -> None:
    """Change the description or single labels of a project; what is not named stays."""
    changes: dict[str, object] = {}
    if description is not None:
        changes["description"] = description
    if labels:
        changes["labels"] = dict(map(_label, labels))
    if not changes:
        raise Failure("--description or --label says what to change", USAGE)
    target.call(lambda client: client.projects.patch(name, changes))
    click.echo(f"Updated project {name}")


def _label(text: str) -> tuple[str, str | None]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise Failure(f"--label {text!r} is not KEY=VALUE", USAGE)
    return key, value or None
