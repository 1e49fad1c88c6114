"""``trimtab history``, ``rollback`` and ``watch``: what was changed, when, by whom."""

import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

import click

from trimtab.api.settings import HistoryBody
from trimtab.cli import changes, known
from trimtab.cli.configuration import Output
from trimtab.cli.failures import Failure, example
from trimtab.cli.known import kind_argument
from trimtab.cli.places import place_options, said, scope_of
from trimtab.cli.questions import confirmed
from trimtab.cli.rendering import (
    Columns,
    cell,
    output_option,
    reason_option,
    show_data,
    show_list,
)
from trimtab.cli.target import Target, connected
from trimtab.client import Client

_PLACES = ("project", "domain", "cluster", "pool")
_COLUMNS: Columns[HistoryBody] = {
    "REVISION": lambda change: change.revision,
    "AT": lambda change: f"{change.at:%Y-%m-%d %H:%M:%S%z}",
    "BY": lambda change: change.actor,
    "ACTION": lambda change: change.action,
    "OF": lambda change: changes.what(change.kind, change.scope, change.name),
    "CHANGES": lambda change: "; ".join(changes.between(change.before, change.after)),
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
@place_options
@_SINCE
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most.")
@output_option()
@connected
def history(
    target: Target,
    kind: str | None,
    since: int | None,
    limit: int,
    output: Output,
    **places: Any,
) -> None:
    """Show changes, the newest first: of one record, or of all that lies at a place and below.

    With KIND and a place it is exactly that record; without KIND also projects, domains, clusters
    and pools.
    """
    given = said(places)
    name = _kind_name(target, kind)
    parts = _parts(given)

    async def read(client: Client) -> Sequence[HistoryBody]:
        if name and name not in _PLACES and (given["platform"] or parts):
            scope = scope_of(**given, nothing="")
            return await client.records.history(name, scope, since=since, limit=limit)
        return await client.settings.history(name, since=since, limit=limit, **parts)

    show_list(target.call(read), output, _COLUMNS)


@click.command(
    "rollback",
    epilog=example(
        "trimtab rollback task-resource-attribute -p shop -d development --to $REVISION --force"
    ),
)
@kind_argument()
@place_options
@click.option("--to", "revision", type=click.IntRange(1), required=True, help="See `history`.")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@click.option("--force", is_flag=True, help="Do not ask before changing.")
@reason_option
@connected
def rollback(
    target: Target,
    kind: str,
    revision: int,
    dry_run: bool,
    force: bool,
    reason: str,
    **places: Any,
) -> None:
    """Make a record again what it was at a revision, also one that was deleted since."""
    name = known.find(target, kind).name
    scope = scope_of(**said(places), nothing="project and domain are required parameters")
    stored = target.call(lambda client: client.records.get(name, scope))
    version = None if stored is None else stored.version

    async def roll(client: Client, *, dry: bool) -> list[str]:
        body = await client.records.rollback(
            name, scope, revision, version=version, reason=reason, dry_run=dry
        )
        return list(changes.differences(body))

    lines = target.call(lambda client: roll(client, dry=True))
    if not lines:
        click.echo("No changes detected. Skipping the rollback.")
        return
    click.echo("\n".join(lines))
    if dry_run:
        return
    if not force and not confirmed("Continue? [y/n]: "):
        raise Failure("rollback aborted by user")
    target.call(lambda client: roll(client, dry=False))
    click.echo(f"Rolled {name} of {scope} back to revision {revision}")


@click.command("watch", epilog=example("trimtab watch --since 0 --limit 1"))
@kind_argument(required=False)
@place_options
@_SINCE
@click.option("--limit", type=click.IntRange(1), help="End after so many.")
@output_option()
@connected
def watch(
    target: Target,
    kind: str | None,
    since: int | None,
    limit: int | None,
    output: Output,
    **places: Any,
) -> None:
    """Tell changes as they are committed, until Ctrl-C: from now on, or after a revision.

    It goes on where it was when the server was away. Each change is one line, with -o json of
    JSON.
    """
    parts = _parts(said(places))
    name = _kind_name(target, kind)

    async def follow(client: Client) -> None:
        told = 0
        async with aclosing(client.settings.watch(name, since=since, **parts)) as changed:
            async for change in changed:
                _tell(change, output)
                told += 1
                if told == limit:
                    return

    target.call(follow)


def _tell(change: HistoryBody, output: Output) -> None:
    match output:
        case "json":
            click.echo(json.dumps(change.model_dump(mode="json"), ensure_ascii=False))
        case "yaml":
            show_data([change.model_dump(mode="json")], output)
        case _:
            click.echo("  ".join(cell(column(change)) for column in _COLUMNS.values()))


def _kind_name(target: Target, kind: str | None) -> str | None:
    return kind if kind is None or kind in _PLACES else known.find(target, kind).name


def _parts(given: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in given.items() if value and name != "platform"}
