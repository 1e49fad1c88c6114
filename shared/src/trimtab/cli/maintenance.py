"""``trimtab dead`` and ``trimtab resync``: repair of messages between services."""

from collections.abc import Sequence

import click

from trimtab.api.maintenance import DeadLetterBody
from trimtab.cli.commands import dry_run_option, example, limit_option
from trimtab.cli.configuration import Output
from trimtab.cli.groups import CommandGroup
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import Columns, output_option, show, show_data, show_list
from trimtab.client import Client

_DEAD: Columns[DeadLetterBody] = {
    "SEQUENCE": lambda letter: letter.sequence,
    "AT": lambda letter: letter.at,
    "STREAM": lambda letter: letter.stream,
    "CONSUMER": lambda letter: letter.consumer,
    "SUBJECT": lambda letter: letter.subject,
    "TYPE": lambda letter: letter.event_type,
    "REASON": lambda letter: letter.reason,
}
_SEQUENCE = click.IntRange(1)

dead = CommandGroup("dead", help="List, show and replay messages that their consumer rejected.")


@dead.command("list", epilog=example("trimtab dead list"))
@click.option("--stream", help="Only from this stream.")
@click.option("--consumer", help="Only from this consumer.")
@limit_option
@output_option()
@with_server
def list_dead(
    server: Server, stream: str | None, consumer: str | None, limit: int, output: Output
) -> None:
    """List dead letters, oldest first."""
    found = server.call(lambda client: client.dead.list(stream, consumer, limit))
    show_list(found, output, _DEAD)


@dead.command("show", epilog=example("trimtab dead show $DEAD"))
@click.argument("sequence", type=_SEQUENCE)
@output_option("yaml")
@with_server
def show_dead(server: Server, sequence: int, output: Output) -> None:
    """Show a dead letter with its original body."""
    found = server.call(lambda client: client.dead.get(sequence))
    if output == "table":
        show_list([found], output, {**_DEAD, "BODY": lambda letter: letter.body})
    else:
        show_data(found.model_dump(mode="json"), output)


@dead.command("replay", epilog=example("trimtab dead replay $DEAD"))
@click.argument("sequences", type=_SEQUENCE, nargs=-1, required=True)
@dry_run_option
@with_server
def replay_dead(server: Server, sequences: Sequence[int], dry_run: bool) -> None:
    """Publish dead letters again on their original subjects, and delete the dead letters."""

    async def replay(client: Client) -> None:
        for sequence in sequences:
            body = await client.dead.replay(sequence, dry_run=dry_run)
            if dry_run:
                show(f"Would replay {sequence} on {body.subject} of {body.stream}")
            else:
                show(f"Replayed {sequence} as {body.sequence} of {body.stream}")

    server.call(replay)


@click.command("resync", epilog=example("trimtab resync"))
@dry_run_option
@with_server
def resync(server: Server, dry_run: bool) -> None:
    """Publish all settings and unfinished executions again, for services that lost messages.

    Every record gets a new version. admin does this by itself after the stream has lost messages.
    """
    body = server.call(lambda client: client.resync(dry_run=dry_run))
    if dry_run:
        show(f"Would publish {body.settings} settings and {body.executions} executions again")
        return
    show(
        f"Published {body.settings} settings and {body.executions} executions again; a service "
        f"that has reached revision {body.revision} is up to date"
    )
