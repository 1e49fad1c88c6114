"""``trimtab get|update|delete NOUN``: settings of one kind, with flytectl's flags and messages."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from trimtab.api.settings import RecordBody
from trimtab.cli import attribute_files
from trimtab.cli.attribute_files import unified_diff
from trimtab.cli.commands import Failure, error_prefix, example
from trimtab.cli.configuration import Output
from trimtab.cli.scopes import (
    domain_wide_option,
    error_text,
    parse_scope,
    scope_from_body,
    scope_options,
    scope_parts,
    selected_scope,
    success_text,
)
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import confirm, output_option, progress, show, show_data, table
from trimtab.client import Client
from trimtab.errors import Code, NotFound, Rejected
from trimtab.kinds import Kind
from trimtab.levels import Level, Scope

_ATTR_FILE = click.Path(path_type=Path)
_DRY_RUN = click.option("--dryRun", "dry_run", is_flag=True, help="Change nothing.")

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
    @click.option("--attrFile", "file", type=_ATTR_FILE, help="Write to a file for `update`.")
    @output_option(default=None)
    @with_server
    def get(server: Server, file: Path | None, output: Output | None, **options: Any) -> None:
        scope = selected_scope(options)
        record = server.call(lambda client: _narrowest_record(client, kind, scope))
        stored_at = scope_from_body(record.scope)
        if stored_at != scope:
            progress(f"nothing is stored at {scope}; this is inherited from {stored_at}")
        if file is not None:
            _write(file, attribute_files.to_content(kind, scope, record.document))
        elif output is None:
            show(attribute_files.to_json(kind, scope, record.document))
        else:
            _show(kind, scope, record, output)

    return get


def update_command(kind: Kind) -> click.Command:
    """Return ``trimtab update <noun>``."""
    words = kind.noun.replace("-", " ")

    @click.command(
        kind.noun,
        help=f"{kind.summary}: replace the stored record by a file.",
        epilog=example(f"trimtab update {kind.noun} --attrFile {kind.noun}.yaml --force"),
    )
    @scope_options
    @click.option("--attrFile", "file", type=_ATTR_FILE, help="The file to read.")
    @domain_wide_option
    @_DRY_RUN
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
        content = attribute_files.read(file, domain_wide=domain_wide)
        parts = content.merge_flags(scope_parts(options, has_file=True))
        scope = parse_scope(**parts, missing="project is required")
        document = content.document(kind, scope)
        if not document:
            raise Failure(
                f"{file} sets no field of {kind.name}; to delete the stored record: "
                f"trimtab delete {kind.noun}",
                Code.INVALID,
            )
        prefix = f"update {error_text(scope)} matchable attributes: "
        with error_prefix(f"{prefix}could not fetch attributes: "):
            record = server.call(lambda client: client.records.get(kind.name, scope))
        if not _confirm(kind, record, document, dry_run=dry_run, force=force):
            return
        version = None if record is None else record.version
        with error_prefix(f"{prefix}update failed: "):
            stored = server.call(
                lambda client: client.records.put(kind.name, scope, document, version=version)
            )
        for warning in stored.warnings:
            progress(f"warning: {warning}")
        show(f"Updated attributes from {success_text(scope)}")

    return update


def delete_command(kind: Kind) -> click.Command:
    """Return ``trimtab delete <noun>``."""

    @click.command(
        kind.noun,
        help=f"{kind.summary}: delete the record at one scope.",
        epilog=example(f"trimtab delete {kind.noun} -p shop -d development"),
    )
    @scope_options
    @click.option("--attrFile", "file", type=_ATTR_FILE, help="A file that names the scope.")
    @domain_wide_option
    @_DRY_RUN
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
            content.document(kind, scope)
        if dry_run:
            show(f"skipping {_DELETE_REQUESTS[scope.level]} request (dryRun)")
            return
        server.call(lambda client: client.records.delete(kind.name, scope, force=True))
        show(f"Deleted matchable resources from {success_text(scope)}")

    return delete


async def _narrowest_record(client: Client, kind: Kind, scope: Scope) -> RecordBody:
    """Return the narrowest record that covers the scope, as Flyte does.

    Raises `NotFound` for an unknown project or domain, and `Failure` where there is no record.
    """
    for candidate in reversed(scope.chain):
        covers = candidate == scope or (scope.project and candidate.level in _FALLBACK_LEVELS)
        if not covers or candidate.level not in kind.levels:
            continue
        if (record := await client.records.get(kind.name, candidate)) is not None:
            return record
    await _check_exists(client, scope)
    raise Failure("attribute not found", Code.NOT_FOUND)


async def _check_exists(client: Client, scope: Scope) -> None:
    """Raise `NotFound`, which lists the existing names, for an unknown project or domain."""
    projects = [project.name for project in await client.projects.list()]
    domains = [domain.name for domain in await client.domains.list()]
    for entity, name, existing in (
        ("project", scope.project, projects),
        ("domain", scope.domain, domains),
    ):
        if name and name not in existing:
            raise NotFound(entity, name, ", ".join(existing) or "none")


def _confirm(
    kind: Kind,
    record: RecordBody | None,
    document: Mapping[str, Any],
    *,
    dry_run: bool,
    force: bool,
) -> bool:
    """Show the changes, and return whether to store them. Raises `Failure` for a no."""
    changes = unified_diff(kind, None if record is None else record.document, document)
    if not changes:
        show("No changes detected. Skipping the update.")
        return False
    show(f"The following changes are to be applied.\n{changes}\n")
    if dry_run:
        show("Skipping update request (dryRun)")
        return False
    if not force and not confirm("Continue? [y/n]: "):
        raise Failure("update aborted by user")
    return True


def _write(file: Path, content: Mapping[str, Any]) -> None:
    if file.exists() and not confirm(f"warning file {file} will be overwritten [y/n]: "):
        raise Failure("error dumping in file due to backup the file before continuing")
    try:
        with open(file, "w", encoding="utf-8", opener=_open_private) as output:
            output.write(attribute_files.to_yaml(dict(content)))
    except OSError as error:
        raise Rejected(f"error dumping in file due to {error.strerror}: {file}") from error
    show(f"wrote the config to file {file}")


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _show(kind: Kind, scope: Scope, record: RecordBody, output: Output) -> None:
    if output != "table":
        show_data(attribute_files.to_content(kind, scope, record.document), output)
        return
    stored_at = scope_from_body(record.scope)
    leaves = kind.schema.flatten(record.document).items()
    rows = [(path, value, stored_at, record.version) for path, value in leaves]
    unset = record.document.get("unset", ())
    rows += [(path, "unset", stored_at, record.version) for path in unset]
    show(table(("FIELD", "VALUE", "SCOPE", "VERSION"), rows))
