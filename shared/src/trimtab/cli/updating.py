"""``trimtab update NOUN``: a record is replaced by a file, with flytectl's flags and messages.

Where Flyte's server merges the file into the record, so does this command.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from trimtab.api.settings import RecordBody
from trimtab.cli import attribute_files, changes
from trimtab.cli.attribute_files import STDIN, AttributeFile, attr_file_option
from trimtab.cli.commands import Failure, dry_run_option, error_prefix, example
from trimtab.cli.diffs import unified_diff
from trimtab.cli.scopes import (
    domain_wide_option,
    error_text,
    parse_scope,
    scope_options,
    scope_parts,
    success_text,
)
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import confirm, progress, show, warn
from trimtab.client import Client
from trimtab.errors import Code, Stale
from trimtab.kinds import Kind
from trimtab.levels import Scope


def update_command(kind: Kind) -> click.Command:
    """Return ``trimtab update <noun>``."""
    words = kind.noun.replace("-", " ")

    @click.command(
        kind.noun,
        help=f"{kind.summary}: {_effect(kind)}",
        epilog=example(f"trimtab update {kind.noun} --attrFile {kind.noun}.yaml --force"),
    )
    @scope_options
    @attr_file_option("The file to read; - for standard input.")
    @domain_wide_option
    @dry_run_option
    @click.option("--force", is_flag=True, help="Change without a prompt.")
    @with_server
    def update(
        server: Server,
        file: Path | None,
        domain_wide: bool,
        dry_run: bool,
        force: bool,
        **options: Any,
    ) -> None:
        if file is None:
            raise Failure(f"attrFile is mandatory while calling update for {words}", Code.INVALID)
        _check_prompt(file, force or dry_run)
        content = attribute_files.read(file, domain_wide=domain_wide)
        parts = content.merge_flags(scope_parts(options, has_file=True))
        scope = parse_scope(**parts, missing="project is required")
        document = _document(content, kind, scope)
        prefix = f"update {error_text(scope)} matchable attributes: "
        with error_prefix(f"{prefix}could not fetch attributes: "):
            record = server.call(lambda client: client.records.get(kind.name, scope))
        if not _show_changes(kind, record, document):
            return
        if not (dry_run or force or confirm("Continue? [y/n]: ")):
            raise Failure("update aborted by user")
        write = _check if dry_run else _store
        with error_prefix(f"{prefix}update failed: "):
            server.call(lambda client: write(client, kind, scope, record, document))
        done = f"Updated attributes from {success_text(scope)}"
        show("Skipping update request (dryRun)" if dry_run else done)

    return update


def _effect(kind: Kind) -> str:
    if kind.merged_map:
        return f"replace the {kind.merged_map} that a file has; the record keeps the others."
    return "replace the stored record by a file."


def _check_prompt(file: Path, is_silent: bool) -> None:
    """Raise `Failure` where a prompt would read its answer from the file."""
    if file == STDIN and not is_silent:
        raise Failure(
            "--attrFile - reads all of standard input, so that a prompt cannot be answered there: "
            "use --force, or --dry-run to see the changes",
            Code.INVALID,
        )


def _document(content: AttributeFile, kind: Kind, scope: Scope) -> dict[str, Any]:
    """Return the document of the file. Raises `Failure` where it sets nothing."""
    document = content.flytectl_document(kind, scope)
    if not document:
        raise Failure(
            f"{content.name} sets no field of {kind.name}; to delete the stored record: "
            f"trimtab delete {kind.noun}",
            Code.INVALID,
        )
    return document


def _show_changes(kind: Kind, record: RecordBody | None, document: Mapping[str, Any]) -> bool:
    """Show what an update by the document changes, and return whether that is anything."""
    before = None if record is None else record.document
    after = kind.to_file(kind.update(before or {}, document))
    difference = unified_diff(kind, None if before is None else kind.to_file(before), after)
    if not difference:
        show("No changes detected. Skipping the update.")
        return False
    show(f"The following changes are to be applied.\n{difference}\n")
    return True


async def _check(
    client: Client,
    kind: Kind,
    scope: Scope,
    record: RecordBody | None,
    document: Mapping[str, Any],
) -> None:
    """Show what else the update would change. Raises as `_store`."""
    before, version = ({}, None) if record is None else (record.document, record.version)
    updated = kind.update(before, document)
    preview = await client.records.dry_put(kind.name, scope, updated, version=version)
    for text in changes.warning_texts(preview):
        warn(text)
    for line in changes.blast_radius_lines(preview):
        progress(line)


async def _store(
    client: Client,
    kind: Kind,
    scope: Scope,
    record: RecordBody | None,
    document: Mapping[str, Any],
) -> None:
    """Update the record. Where others have changed entries that the document lacks, keep theirs.

    Raises `Stale` where they have changed anything else that the document replaces.
    """
    shown = {} if record is None else record.document
    while True:
        before, version = ({}, None) if record is None else (record.document, record.version)
        try:
            updated = kind.update(before, document)
            await client.records.put(kind.name, scope, updated, version=version)
        except Stale:
            record = await client.records.get(kind.name, scope)
            now = {} if record is None else record.document
            if not kind.merged_map or _replaced(kind, now, document) != _replaced(
                kind, shown, document
            ):
                raise
        else:
            return


def _replaced(kind: Kind, stored: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    """Return what an update replaces by the document: its entries, and what is unset."""
    entries = stored.get(kind.merged_map, {})
    keys = document.get(kind.merged_map, {})
    return {key: entries.get(key) for key in keys}, stored.get("unset")
