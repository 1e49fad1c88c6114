"""``trimtab get|update|delete <kind>``: settings in flytectl's files, flags and messages."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from trimtab.api.records import RecordBody
from trimtab.cli import documents, rendering
from trimtab.cli.configuration import Output
from trimtab.cli.differences import unified
from trimtab.cli.failures import NOT_FOUND, USAGE, Failure, example, prefixed
from trimtab.cli.places import in_words, place_options, said, scope_of, target_of
from trimtab.cli.questions import confirmed
from trimtab.cli.target import Target, connected
from trimtab.client import Client
from trimtab.errors import NotFound, Rejected
from trimtab.kinds import Kind
from trimtab.levels import Level, Scope

_ATTR_FILE = click.Path(path_type=Path)
_DRY_RUN = click.option("--dryRun", "dry_run", is_flag=True, help="Change nothing.")

# What Flyte's own answer may fall back to; effective values show the broader levels.
_FALLBACK = frozenset({Level.PROJECT, Level.PROJECT_DOMAIN, Level.WORKFLOW, Level.LAUNCH_PLAN})
# flytectl's names of the requests that a dry run leaves out.
_SKIPPED = {
    Level.PLATFORM: "DeletePlatformAttributes",
    Level.DOMAIN: "DeleteDomainAttributes",
    Level.PROJECT: "DeleteProjectDomainAttributes",
    Level.PROJECT_DOMAIN: "DeleteProjectDomainAttributes",
    Level.WORKFLOW: "DeleteWorkflowAttributes",
    Level.LAUNCH_PLAN: "DeleteLaunchPlanAttributes",
}


def get_command(kind: Kind) -> click.Command:
    """``trimtab get <noun>``."""

    @click.command(
        kind.noun,
        help=f"{kind.summary}: what is stored.",
        epilog=example(f"trimtab get {kind.noun} -p shop -d development"),
    )
    @place_options
    @click.option("--attrFile", "file", type=_ATTR_FILE, help="Write a file for `update`.")
    @rendering.output_option(default=None)
    @connected
    def get(target: Target, file: Path | None, output: Output | None, **places: Any) -> None:
        scope = scope_of(**said(places), nothing="project and domain are required parameters")
        record = target.call(lambda client: _nearest(client, kind, scope))
        stored = Scope(**record.scope.model_dump(exclude={"level"}))
        if stored != scope:
            rendering.progress(f"nothing is stored at {scope}; this is inherited from {stored}")
        if file is not None:
            _write(file, documents.flat(kind, scope, record.document))
        elif output is None:
            click.echo(documents.to_json(kind, scope, record.document))
        else:
            _show(kind, scope, record, output)

    return get


def update_command(kind: Kind) -> click.Command:
    """``trimtab update <noun>``."""
    what = kind.noun.replace("-", " ")

    @click.command(
        kind.noun,
        help=f"{kind.summary}: replace what is stored by a file.",
        epilog=example(f"trimtab update {kind.noun} --attrFile {kind.noun}.yaml --force"),
    )
    @place_options
    @click.option("--attrFile", "file", type=_ATTR_FILE, help="The file.")
    @_DRY_RUN
    @click.option("--force", is_flag=True, help="Do not ask before changing.")
    @connected
    def update(
        target: Target, file: Path | None, dry_run: bool, force: bool, **places: Any
    ) -> None:
        if file is None:
            raise Failure(f"attrFile is mandatory while calling update for {what}", USAGE)
        given = documents.read(file)
        scope = scope_of(**given.joined(said(places, file=True)), nothing="project is required")
        document = given.document(kind, scope)
        if not document:
            raise Failure(
                f"{file} has no field of {kind.name}; to remove what is stored: "
                f"trimtab delete {kind.noun}",
                USAGE,
            )
        with prefixed(
            f"update {in_words(scope)} matchable attributes: could not fetch attributes: "
        ):
            record = target.call(lambda client: client.records.get(kind.name, scope))
        if not _confirmed(kind, record, document, dry_run=dry_run, force=force):
            return
        version = None if record is None else record.version
        with prefixed(f"update {in_words(scope)} matchable attributes: update failed: "):
            target.call(
                lambda client: client.records.put(kind.name, scope, document, version=version)
            )
        click.echo(f"Updated attributes from {target_of(scope)}")

    return update


def delete_command(kind: Kind) -> click.Command:
    """``trimtab delete <noun>``."""

    @click.command(
        kind.noun,
        help=f"{kind.summary}: remove what is stored at one place.",
        epilog=example(f"trimtab delete {kind.noun} -p shop -d development"),
    )
    @place_options
    @click.option("--attrFile", "file", type=_ATTR_FILE, help="A file that names the place.")
    @_DRY_RUN
    @connected
    def delete(target: Target, file: Path | None, dry_run: bool, **places: Any) -> None:
        given = None if file is None else documents.read(file)
        places = said(places, file=given is not None)
        if given is not None:
            places = given.joined(places)
        scope = scope_of(**places, nothing="project and domain are required parameters")
        if given is not None:
            given.document(kind, scope)  # strict, though only the place is used
        if dry_run:
            click.echo(f"skipping {_SKIPPED[scope.level]} request (dryRun)")
            return
        target.call(lambda client: client.records.delete(kind.name, scope, force=True))
        click.echo(f"Deleted matchable resources from {target_of(scope)}")

    return delete


async def _nearest(client: Client, kind: Kind, scope: Scope) -> RecordBody:
    """The narrowest record that covers the scope, as Flyte answers. Raises `NotFound`."""
    for candidate in reversed(scope.chain):
        covers = candidate == scope or (scope.project and candidate.level in _FALLBACK)
        if not covers or candidate.level not in kind.levels:
            continue
        if (record := await client.records.get(kind.name, candidate)) is not None:
            return record
    await _check_known(client, scope)
    raise Failure("attribute not found", NOT_FOUND)


async def _check_known(client: Client, scope: Scope) -> None:
    """Raises `NotFound`, naming the projects or domains there are."""
    projects = [project.name for project in await client.projects.list()]
    domains = [domain.name for domain in await client.domains.list()]
    for what, name, known in (
        ("project", scope.project, projects),
        ("domain", scope.domain, domains),
    ):
        if name and name not in known:
            raise NotFound(what, name, ", ".join(known) or "none")


def _confirmed(
    kind: Kind,
    record: RecordBody | None,
    document: Mapping[str, Any],
    *,
    dry_run: bool,
    force: bool,
) -> bool:
    """Show what would change; whether to do it. Raises `Failure` where the person says no."""
    changes = unified(kind, None if record is None else record.document, document)
    if not changes:
        click.echo("No changes detected. Skipping the update.")
        return False
    click.echo(f"The following changes are to be applied.\n{changes}\n")
    if dry_run:
        click.echo("Skipping update request (dryRun)")
        return False
    if not force and not confirmed("Continue? [y/n]: "):
        raise Failure("update aborted by user")
    return True


def _write(file: Path, content: Mapping[str, Any]) -> None:
    if file.exists() and not confirmed(f"warning file {file} will be overwritten [y/n]: "):
        raise Failure("error dumping in file due to backup the file before continuing")
    try:
        with open(file, "w", encoding="utf-8", opener=_private) as output:
            output.write(documents.to_yaml(dict(content)))
    except OSError as error:
        raise Rejected(f"error dumping in file due to {error.strerror}: {file}") from error
    click.echo(f"wrote the config to file {file}")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _show(kind: Kind, scope: Scope, record: RecordBody, output: Output) -> None:
    if output != "table":
        rendering.show_data(documents.flat(kind, scope, record.document), output)
        return
    stored = Scope(**record.scope.model_dump(exclude={"level"}))
    flat = kind.schema.flatten(record.document)
    rows = [(path, value, stored, record.version) for path, value in flat.items()]
    rows += [(path, "unset", stored, record.version) for path in record.document.get("unset", ())]
    click.echo(rendering.table(("FIELD", "VALUE", "SCOPE", "VERSION"), rows))
