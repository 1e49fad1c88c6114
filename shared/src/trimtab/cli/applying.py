"""``trimtab apply``, ``diff`` and ``export``: many documents together."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import click

from trimtab.api.settings import ChangesBody
from trimtab.cli import changes, known, manifests
from trimtab.cli.configuration import Output
from trimtab.cli.failures import Failure, example
from trimtab.cli.manifests import Manifest
from trimtab.cli.rendering import output_option, progress, reason_option, show_data
from trimtab.cli.target import Target, connected
from trimtab.client import Client
from trimtab.errors import Rejected, TrimtabError

DIFFERENT = 1
OTHER_ERROR = 8
"""Of ``diff``, for errors that end other commands with 1."""


def _documents(command: Callable[..., None]) -> Callable[..., None]:
    """Adds what says which documents are meant."""
    for option in (
        click.option(
            "--kind", default="", help="Of documents that do not say it, as flytectl's files."
        ),
        click.option(
            "--prune",
            default="",
            metavar="LABEL",
            help="Such as owner=team-a: every record of the documents gets it; records that have "
            "it and are not among them are deleted.",
        ),
        click.option(
            "-f",
            "--file",
            "files",
            multiple=True,
            required=True,
            type=click.Path(path_type=Path),
            help="A file, a directory of files, or - for standard input; can be repeated.",
        ),
    ):
        command = option(command)
    return command


@click.command("apply", epilog=example("trimtab apply -f settings/ --prune owner=team-a"))
@_documents
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would change, for whom.")
@reason_option
@output_option()
@connected
def apply(
    target: Target,
    files: Sequence[Path],
    prune: str,
    kind: str,
    dry_run: bool,
    reason: str,
    output: Output,
) -> None:
    """Make settings as the documents say, all of them or nothing.

    A directory is read with all that lies below it. Documents are those that `trimtab export`
    writes, or flytectl's with a `kind:` more.
    """
    read = manifests.read(files, known.Finder(target), kind)
    bodies = [manifest.body for manifest in read]
    body = _sent(
        target,
        read,
        lambda client: client.settings.apply(bodies, prune=prune, dry_run=dry_run, reason=reason),
    )
    _warn(body)
    if output != "table":
        show_data(body.model_dump(mode="json"), output)
        return
    lines = [*changes.done(body), *(changes.differences(body) if dry_run else ())]
    click.echo("\n".join(lines))


@click.command("diff", epilog=example("trimtab diff -f settings/"))
@_documents
@output_option()
@connected
@click.pass_context
def diff(
    context: click.Context,
    target: Target,
    files: Sequence[Path],
    prune: str,
    kind: str,
    output: Output,
) -> None:
    """Show what `apply` would change, and whose effective values.

    The exit code is 0 where nothing would change and 1 where something would; errors end it with
    more than 1.
    """
    try:
        read = manifests.read(files, known.Finder(target), kind)
        bodies = [manifest.body for manifest in read]
        body = _sent(target, read, lambda client: client.settings.diff(bodies, prune=prune))
    except TrimtabError as error:
        code = Failure.of(error).exit_code
        raise Failure(str(error), OTHER_ERROR if code == DIFFERENT else code) from error
    _warn(body)
    if output != "table":
        show_data(body.model_dump(mode="json"), output)
    elif lines := list(changes.differences(body)):
        click.echo("\n".join(lines))
    if any(change.action != "none" for change in body.changes):
        context.exit(DIFFERENT)


@click.command("export", epilog=example("trimtab export exported/", "trimtab export -"))
@click.argument("directory", type=click.Path(file_okay=False, allow_dash=True, path_type=Path))
@click.option("--force", is_flag=True, help="Write into a directory that is not empty.")
@click.option("--readable-only", is_flag=True, help="Leave out records that nobody can read.")
@connected
def export(target: Target, directory: Path, force: bool, readable_only: bool) -> None:
    """Write everything to a DIRECTORY, or to - for standard output.

    `trimtab apply` takes it back unchanged, here or on another installation.
    """
    if directory != manifests.STDIN and directory.exists() and any(directory.iterdir()):
        if not force:
            raise Failure(f"{directory} is not empty; --force writes into it")
        progress(f"warning: {directory} was not empty; what else lies there stays")
    bodies = target.call(lambda client: client.settings.export(readable_only=readable_only))
    if directory == manifests.STDIN:
        click.echo("---\n".join(map(manifests.text_of, bodies)), nl=False)
    else:
        manifests.write(directory, bodies)
        click.echo(f"wrote {len(bodies)} documents to {directory}")


def _sent(
    target: Target, read: Sequence[Manifest], work: Callable[[Client], Awaitable[ChangesBody]]
) -> ChangesBody:
    try:
        return target.call(work)
    except Rejected as error:
        raise manifests.located(error, read) from error


def _warn(body: ChangesBody) -> None:
    for warning in changes.warnings(body):
        progress(warning)
