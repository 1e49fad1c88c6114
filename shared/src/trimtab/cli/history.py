"""``trimtab history``, ``rollback`` and ``watch``: past and present changes of settings."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

import click

from trimtab.api.settings import ChangesBody, HistoryBody
from trimtab.cli import changes
from trimtab.cli.commands import Failure, dry_run_option, example, limit_option, reason_option
from trimtab.cli.configuration import Output
from trimtab.cli.escaping import to_json
from trimtab.cli.kinds import find_kind, kind_argument
from trimtab.cli.scopes import parse_scope, scope_options, scope_parts, selected_scope
from trimtab.cli.server import Server, with_server
from trimtab.cli.tables import cell
from trimtab.cli.terminal import Columns, confirm, output_option, show, show_data, show_list, warn
from trimtab.client import Client

_ENTITIES = ("project", "domain", "cluster", "pool", "queue")
_COLUMNS: Columns[HistoryBody] = {
    "REVISION": lambda change: change.revision,
    "AT": lambda change: change.at,
    "BY": lambda change: change.actor,
    "ACTION": lambda change: change.action,
    "OF": lambda change: changes.subject(change.kind, change.scope, change.name),
    "CHANGES": lambda change: "; ".join(changes.change_texts(change.before, change.after)),
    "REASON": lambda change: change.reason,
}
_SINCE = click.option("--since", type=click.IntRange(0), help="Only changes after this revision.")


@click.command(
    "history",
    epilog=example(
        "trimtab history task-resource-attribute -p shop -d development", "trimtab history -p shop"
    ),
)
@kind_argument(required=False)
@scope_options
@_SINCE
@limit_option
@output_option()
@with_server
def history(
    server: Server,
    kind: str | None,
    since: int | None,
    limit: int,
    output: Output,
    **options: Any,
) -> None:
    """Show changes, newest first: of one record, or of a scope and all narrower scopes.

    With KIND and a scope, only changes of that record are shown. Without KIND, changes of projects,
    domains, clusters, pools and queues are included.
    """
    parts = scope_parts(options)
    name = _kind_name(server, kind)
    filters = _filters(parts)

    async def read(client: Client) -> Sequence[HistoryBody]:
        if name and name not in _ENTITIES and (parts["platform"] or filters):
            scope = parse_scope(**parts, missing="")
            return await client.records.history(name, scope, since=since, limit=limit)
        return await client.settings.history(name, since=since, limit=limit, **filters)

    show_list(server.call(read), output, _COLUMNS)


@click.command(
    "rollback",
    epilog=example(
        "trimtab rollback task-resource-attribute -p shop -d development --to $REVISION --force"
    ),
)
@kind_argument()
@scope_options
@click.option(
    "--to", "revision", type=click.IntRange(1), required=True, help="A revision from `history`."
)
@dry_run_option
@click.option("--force", is_flag=True, help="Change without a prompt.")
@reason_option
@with_server
def rollback(
    server: Server,
    kind: str,
    revision: int,
    dry_run: bool,
    force: bool,
    reason: str,
    **options: Any,
) -> None:
    """Restore a record as it was at a revision, even if it was deleted since."""
    name = find_kind(server, kind).name
    scope = selected_scope(options)
    stored = server.call(lambda client: client.records.get(name, scope))
    version = None if stored is None else stored.version

    async def restore(client: Client, *, dry_run: bool) -> ChangesBody:
        return await client.records.rollback(
            name, scope, revision, version=version, reason=reason, dry_run=dry_run
        )

    preview = server.call(lambda client: restore(client, dry_run=True))
    if not (lines := list(changes.difference_lines(preview))):
        show("No changes detected. Skipping the rollback.")
        return
    show("\n".join(lines))
    for text in changes.warning_texts(preview):
        warn(text)
    if dry_run:
        return
    if not force and not confirm("Continue? [y/n]: "):
        raise Failure("rollback aborted by user")
    server.call(lambda client: restore(client, dry_run=False))
    show(f"Rolled {name} of {scope} back to revision {revision}")


@click.command("watch", epilog=example("trimtab watch --since 0 --limit 1"))
@kind_argument(required=False)
@scope_options
@_SINCE
@click.option("--limit", type=click.IntRange(1), help="End after this number of changes.")
@output_option()
@with_server
def watch(
    server: Server,
    kind: str | None,
    since: int | None,
    limit: int | None,
    output: Output,
    **options: Any,
) -> None:
    """Print changes when they are committed, until Ctrl-C: from now on, or after a revision.

    After an outage of the server it continues from the last change. Each change is one line; with
    -o json, a line of JSON.
    """
    filters = _filters(scope_parts(options))
    name = _kind_name(server, kind)

    async def follow(client: Client) -> None:
        count = 0
        async with aclosing(client.settings.watch(name, since=since, **filters)) as stream:
            async for change in stream:
                _print(change, output)
                count += 1
                if count == limit:
                    return

    server.call(follow)


def _print(change: HistoryBody, output: Output) -> None:
    match output:
        case "json":
            show(to_json(change.model_dump(mode="json")))
        case "yaml":
            show_data([change.model_dump(mode="json")], output)
        case _:
            show("  ".join(cell(column(change)) for column in _COLUMNS.values()))


def _kind_name(server: Server, kind: str | None) -> str | None:
    return kind if kind is None or kind in _ENTITIES else find_kind(server, kind).name


def _filters(parts: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in parts.items() if value and name != "platform"}
