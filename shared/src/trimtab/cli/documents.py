"""``trimtab apply``, ``diff`` and ``export``: many documents of settings in files."""

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path

import click

from trimtab.api.settings import MAX_DOCUMENTS, ChangeBody, ChangesBody, DocumentBody
from trimtab.cli import attribute_files, changes, flyte_extra, parts
from trimtab.cli.attribute_files import STDIN
from trimtab.cli.commands import Failure, dry_run_option, example, reason_option
from trimtab.cli.configuration import Output
from trimtab.cli.document_files import (
    ENTITIES,
    DocumentReader,
    FileDocument,
    scope_of,
)
from trimtab.cli.kinds import KindFinder
from trimtab.cli.scopes import domain_wide_option
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import output_option, progress, show, show_data, warn
from trimtab.client import Client
from trimtab.errors import Code, Rejected, Retryable, TrimtabError

DIFFERENT = 1
"""The exit code of ``diff`` where something would change."""
DIFF_ERROR = 8
"""The exit code of ``diff`` for errors that end other commands with 1."""

_INDEX = re.compile(r"documents\.(\d+)(?:\.document\b)?[.:]? ?")


def _document_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that select documents."""
    for option in (
        domain_wide_option,
        click.option(
            "--kind",
            default="",
            help="Kind of documents that do not name one, such as flytectl's attribute files.",
        ),
        click.option(
            "--allow-empty",
            is_flag=True,
            help="Accept that there is no record: --prune deletes all that have the label.",
        ),
        click.option(
            "--prune",
            default="",
            metavar="LABEL",
            help="A label such as owner=team-a: add it to every record of the documents, and "
            "delete the records that have it and are not among the documents.",
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
@_document_options
@dry_run_option
@reason_option
@output_option()
@with_server
def apply(
    server: Server,
    files: Sequence[Path],
    prune: str,
    allow_empty: bool,
    domain_wide: bool,
    kind: str,
    dry_run: bool,
    reason: str,
    output: Output,
) -> None:
    """Create, change and delete settings to match documents: all of them, or none on an error.

    A directory is read with its subdirectories. Documents have the format of `trimtab export`, or
    that of flytectl with `kind:` added. More than 20,000 documents, or 16 MiB, are applied in
    parts, domains and projects first: an error leaves the parts before it stored, and the command
    can be repeated.
    """
    documents = DocumentReader(KindFinder(server), kind, domain_wide).read(files)
    bodies = [document.body for document in documents]
    _check_not_empty(bodies, files, prune, allow_empty)
    in_parts = parts.are_needed(bodies)
    if in_parts:
        _check_divisible(len(documents), prune, dry_run)
        body = apply_in_parts(server, documents, reason)
    else:
        body = _send(
            server,
            documents,
            lambda client: client.settings.apply(
                bodies, prune=prune, allow_empty=allow_empty, dry_run=dry_run, reason=reason
            ),
        )
    _warn(body)
    if output != "table":
        show_data(body.model_dump(mode="json"), output)
        return
    if in_parts:
        show(changes.count_line(body))
        return
    differences = changes.difference_lines(body) if dry_run else ()
    show("\n".join([*changes.summary_lines(body), *differences]))


@click.command("diff", epilog=example("trimtab diff -f settings/"))
@_document_options
@output_option()
@with_server
@click.pass_context
def diff(
    context: click.Context,
    server: Server,
    files: Sequence[Path],
    prune: str,
    allow_empty: bool,
    domain_wide: bool,
    kind: str,
    output: Output,
) -> None:
    """Show what `apply` would change, and the effective values that would change with it.

    The exit code is 0 where nothing would change, 1 where something would change, and more than 1
    for an error.
    """
    try:
        documents = DocumentReader(KindFinder(server), kind, domain_wide).read(files)
        bodies = [document.body for document in documents]
        _check_not_empty(bodies, files, prune, allow_empty)
        if parts.are_needed(bodies):
            _check_divisible(len(documents), prune, dry_run=True)
        body = _send(
            server,
            documents,
            lambda client: client.settings.diff(bodies, prune=prune, allow_empty=allow_empty),
        )
    except TrimtabError as error:
        failure = Failure.of(error)
        if failure.exit_code == DIFFERENT:
            failure.exit_code = DIFF_ERROR
        raise failure from error
    _warn(body)
    if output != "table":
        show_data(body.model_dump(mode="json"), output)
    elif lines := list(changes.difference_lines(body)):
        show("\n".join(lines))
    if any(change.action != "none" for change in body.changes):
        context.exit(DIFFERENT)


@click.command(
    "export",
    epilog=example(
        "trimtab export exported/", "trimtab export -", "trimtab export --flyte for-flytectl/"
    ),
)
@click.argument("directory", type=click.Path(file_okay=False, allow_dash=True, path_type=Path))
@click.option("--force", is_flag=True, help="Write into a directory that is not empty.")
@click.option("--readable-only", is_flag=True, help="Omit records that the server cannot parse.")
@click.option(
    "--flyte",
    "as_flyte",
    is_flag=True,
    help="Write files for `flytectl update`, and list what Flyte 1 cannot have.",
)
@with_server
def export(
    server: Server, directory: Path, force: bool, readable_only: bool, as_flyte: bool
) -> None:
    """Write all settings to a DIRECTORY, or to - for standard output.

    `trimtab apply` accepts the result unchanged, here or on another installation. With --flyte, the
    files are attribute files of flytectl, one for each row, and nothing is written to -.
    """
    if as_flyte and directory == STDIN:
        raise Failure("--flyte writes a directory of files, and not to -", Code.INVALID)
    if directory != STDIN and directory.exists() and any(directory.iterdir()):
        if not force:
            raise Failure(f"{directory} is not empty; --force writes into it")
        warn(f"{directory} was not empty; its other files are left unchanged")
    if as_flyte:
        flyte_extra.load("trimtab.cli.flyte_exports").export(server, directory, readable_only)
        return
    written = server.call(lambda client: _export(client, directory, readable_only))
    if directory != STDIN:
        show(f"wrote {written} documents to {directory}")


async def _export(client: Client, directory: Path, readable_only: bool) -> int:
    """Write each document as it arrives, and return their number."""
    written = 0
    try:
        async with aclosing(client.settings.stream_export(readable_only=readable_only)) as bodies:
            async for body in bodies:
                if directory != STDIN:
                    _write(directory, body)
                else:
                    show("---\n" * (written > 0) + _to_text(body), nl=False)
                written += 1
    except TrimtabError as error:
        if written:
            error.args = (f"{error}; the export is not complete: {written} documents are written",)
        raise
    return written


def _check_not_empty(
    bodies: Sequence[DocumentBody], files: Sequence[Path], prune: str, allow_empty: bool
) -> None:
    """Raise `Rejected` where files hold less than the caller may have meant."""
    if allow_empty:
        return
    names = ", ".join(map(str, files))
    if prune and all(body.kind in ENTITIES for body in bodies):
        raise Rejected(
            f"{names}: there is no record, so --prune would delete every record of {prune}; "
            "--allow-empty lets it"
        )
    if not bodies:
        raise Rejected(f"{names}: there is no document")


def _check_divisible(count: int, prune: str, dry_run: bool) -> None:
    """Raise `Rejected` where documents that are too many for one transaction must be one."""
    if prune or dry_run:
        what = "--prune" if prune else "a dry run"
        raise Rejected(
            f"{what} needs all documents in one transaction, which has at most {MAX_DOCUMENTS:,} "
            f"documents and {parts.MAX_BYTES:,} bytes; these are {count:,}: name fewer files"
        )


def apply_in_parts(server: Server, documents: Sequence[FileDocument], reason: str) -> ChangesBody:
    """Apply the parts one after the other, and return all changes as one result."""
    found: dict[int, ChangeBody] = {}
    revision = 0
    planned = parts.split([document.body for document in documents])
    for number, indexes in enumerate(planned, 1):
        part = [documents[index] for index in indexes]
        try:
            body = _send(server, part, partial(_apply_part, part, reason))
        except TrimtabError as error:
            error.args = (_in_part(error, number, len(planned), len(found)),)
            raise
        for change in body.changes:
            index = indexes[change.index or 0]
            found[index] = change.model_copy(update={"index": index})
        revision = body.revision
        progress(f"part {number} of {len(planned)}: {len(found):,} of {len(documents):,} documents")
    ordered = tuple(found[index] for index in sorted(found))
    return ChangesBody(dry_run=False, revision=revision, changes=ordered)


async def _apply_part(part: Sequence[FileDocument], reason: str, client: Client) -> ChangesBody:
    return await client.settings.apply([document.body for document in part], reason=reason)


def _in_part(error: TrimtabError, number: int, count: int, stored: int) -> str:
    """Return the error's text with what is stored in spite of it."""
    this = "may be stored" if isinstance(error, Retryable) else "is not stored"
    before = f"the parts before it are: {stored:,} documents" if stored else "nothing else is"
    return (
        f"part {number} of {count} {this}: {error}\n{before}. The command can be repeated: it "
        "leaves what is stored as it is"
    )


def _send(
    server: Server,
    documents: Sequence[FileDocument],
    work: Callable[[Client], Awaitable[ChangesBody]],
) -> ChangesBody:
    """Call the server; in its errors, replace the numbers of documents by their files."""
    try:
        return server.call(work)
    except Rejected as error:
        text = _INDEX.sub(lambda found: f"{documents[int(found[1])].source}: ", str(error))
        error.args = (text,)
        raise


def _warn(body: ChangesBody) -> None:
    for text in changes.warning_texts(body):
        warn(text)


def _write(directory: Path, body: DocumentBody) -> None:
    """Write the file of a document. Raises `Rejected`."""
    write_file(directory / _export_path(body), _to_text(body))


def write_file(path: Path, text: str) -> None:
    """Write a file of an export, in a directory that need not exist. Raises `Rejected`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Rejected(f"{path} cannot be written: {error.strerror}") from error


def _to_text(body: DocumentBody) -> str:
    """Return the content of an exported file, without the version so that `apply` accepts it."""
    content = body.model_dump(mode="json", exclude={"version"}, exclude_defaults=True)
    head = {name: value for name, value in content.items() if name != "document"}
    return attribute_files.to_yaml({**head, "document": body.document}, sort_keys=False)


def _export_path(body: DocumentBody) -> Path:
    """Return the path in an export, such as ``project-domain/shop/staging/task_resource.yaml``."""
    if body.kind in ENTITIES:
        return Path(f"{body.kind}s", f"{body.name.replace('/', '%2F')}.yaml")
    parts = filter(None, (body.project, body.domain, body.workflow, body.launch_plan))
    return Path(scope_of(body).level.label, *parts, f"{body.kind}.yaml")
