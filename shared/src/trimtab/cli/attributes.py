"""``trimtab get|delete NOUN``: settings of one kind, with flytectl's flags and messages."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from trimtab.api.settings import RecordBody
from trimtab.cli import attribute_files, changes
from trimtab.cli.attribute_files import STDIN, attr_file_option
from trimtab.cli.commands import Failure, dry_run_option, example
from trimtab.cli.configuration import Output
from trimtab.cli.scopes import (
    domain_wide_option,
    parse_scope,
    scope_from_body,
    scope_options,
    scope_parts,
    selected_scope,
    success_text,
)
from trimtab.cli.server import Server, with_server
from trimtab.cli.tables import Table
from trimtab.cli.terminal import confirm, output_option, progress, show, show_data
from trimtab.client import Client
from trimtab.errors import Code, Rejected
from trimtab.kinds import Kind, forms
from trimtab.levels import Level, Scope

# Flyte's `get` returns a record of one of these levels; `effective` includes the broader ones.
_FALLBACK_LEVELS = frozenset(
    {Level.PROJECT, Level.PROJECT_DOMAIN, Level.WORKFLOW, Level.LAUNCH_PLAN}
)
# flytectl's names for the requests that a dry run skips.
_DELETE_REQUESTS = {
    Level.PLATFORM: "DeletePlatformAttributes",
    Level.DOMAIN: "DeleteDomainAttributes",
    Level.PROJECT: "DeleteProjectDomainAttributes",
    Level.PROJECT_DOMAIN: "DeleteProjectDomainAttributes",
    Level.WORKFLOW: "DeleteWorkflowAttributes",
    Level.LAUNCH_PLAN: "DeleteLaunchPlanAttributes",
}


def get_command(kind: Kind) -> click.Command:
    """Return ``trimtab get <noun>``."""

    @click.command(
        kind.noun,
        help=f"{kind.summary}: show the stored record.",
        epilog=example(f"trimtab get {kind.noun} -p shop -d development"),
    )
    @scope_options
    @attr_file_option("Write to a file for `update`; - for standard output.")
    @click.option("--gen", is_flag=True, help="Where nothing is stored, generate a sample.")
    @output_option(default=None)
    @with_server
    def get(
        server: Server, file: Path | None, gen: bool, output: Output | None, **options: Any
    ) -> None:
        scope = selected_scope(options)
        record = server.call(lambda client: _narrowest_record(client, kind, scope))
        if record is None and not gen:
            raise Failure("attribute not found", Code.NOT_FOUND)
        document = _sample(kind, file) if record is None else record.document
        if record is not None and (stored_at := scope_from_body(record.scope)) != scope:
            progress(f"nothing is stored at {scope}; this is inherited from {stored_at}")
        if file is not None:
            _write(file, attribute_files.to_content(kind, scope, document))
        elif output == "table" and record is not None:
            show(_table(kind, record))
        elif output in ("yaml", "table"):
            show_data(attribute_files.to_content(kind, scope, document), "yaml")
        else:
            show(attribute_files.to_json(kind, scope, document))

    return get


def delete_command(kind: Kind) -> click.Command:
    """Return ``trimtab delete <noun>``."""

    @click.command(
        kind.noun,
        help=f"{kind.summary}: delete the record at one scope.",
        epilog=example(f"trimtab delete {kind.noun} -p shop -d development"),
    )
    @scope_options
    @attr_file_option("A file that names the scope; - for standard input.")
    @domain_wide_option
    @dry_run_option
    @with_server
    def delete(
        server: Server, file: Path | None, domain_wide: bool, dry_run: bool, **options: Any
    ) -> None:
        content = None if file is None else attribute_files.read(file, domain_wide=domain_wide)
        parts = scope_parts(options, has_file=content is not None)
        if content is not None:
            parts = content.merge_flags(parts)
        scope = parse_scope(**parts, missing="project and domain are required parameters")
        if content is not None:
            # As in flytectl, wrong fields are errors although only the scope is used.
            content.flytectl_document(kind, scope)
        if dry_run:
            preview = server.call(
                lambda client: client.records.dry_delete(kind.name, scope, force=True)
            )
            show(f"skipping {_DELETE_REQUESTS[scope.level]} request (dryRun)")
            progress("\n".join(changes.difference_lines(preview)) or "nothing is stored there")
            return
        server.call(lambda client: client.records.delete(kind.name, scope, force=True))
        # flytectl's text for a project ends with a blank.
        end = " " if scope.level is Level.PROJECT else ""
        show(f"Deleted matchable resources from {success_text(scope)}{end}")

    return delete


async def _narrowest_record(client: Client, kind: Kind, scope: Scope) -> RecordBody | None:
    """Return the narrowest record that covers the scope, as Flyte does; ``None`` where none does.

    Raises `NotFound` for an unknown project or domain.
    """
    for candidate in reversed(scope.chain):
        covers = candidate == scope or (scope.project and candidate.level in _FALLBACK_LEVELS)
        if not covers or candidate.level not in kind.levels:
            continue
        if (record := await client.records.get(kind.name, candidate)) is not None:
            return record
    return None


def _sample(kind: Kind, file: Path | None) -> dict[str, Any]:
    """Return a sample of the kind, and announce it as flytectl does."""
    announce = progress if file == STDIN else show
    announce(f"Generating a sample {kind.noun.replace('-', ' ')} file")
    return forms.sample(kind)


def _write(file: Path, content: Mapping[str, Any]) -> None:
    text = attribute_files.to_yaml(dict(content))
    if file == STDIN:
        show(text, nl=False)
        return
    if file.exists() and not confirm(f"warning file {file} will be overwritten [y/n]: "):
        raise Failure("error dumping in file due to backup the file before continuing")
    step = "open"
    try:
        with open(file, "w", encoding="utf-8", opener=_open_private) as output:
            step = "write"
            output.write(text)
    except OSError as error:
        # The text of Go, which writes the reason in small letters.
        reason = (error.strerror or str(error)).lower()
        raise Rejected(f"error dumping in file due to {step} {file}: {reason}") from error
    show(f"wrote the config to file {file}")


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _table(kind: Kind, record: RecordBody) -> Table:
    stored_at = scope_from_body(record.scope)
    leaves = kind.schema.flatten(record.document).items()
    rows = [(path, value, stored_at, record.version) for path, value in leaves]
    unset = record.document.get("unset", ())
    rows += [(path, "unset", stored_at, record.version) for path in unset]
    return Table(("FIELD", "VALUE", "SCOPE", "VERSION"), rows)
