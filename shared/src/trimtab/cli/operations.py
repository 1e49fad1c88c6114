"""``trimtab dead`` and ``trimtab resync``: what went wrong between services, put right."""

from collections.abc import Sequence

import click

from trimtab.api.operations import DeadLetterBody
from trimtab.cli.configuration import Output
from trimtab.cli.failures import Commands, example
from trimtab.cli.rendering import Columns, output_option, show_data, show_list
from trimtab.cli.target import Target, connected
from trimtab.client import Client

_DEAD: Columns[DeadLetterBody] = {
    "SEQUENCE": lambda letter: letter.sequence,
    "AT": lambda letter: f"{letter.at:%Y-%m-%d %H:%M:%S%z}",
    "STREAM": lambda letter: letter.stream,
    "CONSUMER": lambda letter: letter.consumer,
    "SUBJECT": lambda letter: letter.subject,
    "TYPE": lambda letter: letter.event_type,
    "REASON": lambda letter: letter.reason,
}
_SEQUENCE = click.IntRange(1)

dead = Commands("dead", help="Messages that a service gave up, because they can never succeed.")


@dead.command("list", epilog=example("trimtab dead list"))
@click.option("--stream", help="Only of this stream.")
@click.option("--consumer", help="Only of this consumer.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most.")
@output_option()
@connected
def list_dead(
    target: Target, stream: str | None, consumer: str | None, limit: int, output: Output
) -> None:
    """Show dead letters, the oldest first."""
    found = target.call(lambda client: client.dead.list(stream, consumer, limit))
    show_list(found, output, _DEAD)


@dead.command("show", epilog=example("trimtab dead show $DEAD"))
@click.argument("sequence", type=_SEQUENCE)
@output_option("yaml")
@connected
def show_dead(target: Target, sequence: int, output: Output) -> None:
    """Show one dead letter with its body as it came."""
    found = target.call(lambda client: client.dead.get(sequence))
    if output == "table":
        show_list([found], output, {**_DEAD, "BODY": lambda letter: letter.body})
    else:
        show_data(found.model_dump(mode="json"), output)


@dead.command("replay", epilog=example("trimtab dead replay $DEAD"))
@click.argument("sequences", type=_SEQUENCE, nargs=-1, required=True)
@connected
def replay_dead(target: Target, sequences: Sequence[int]) -> None:
    """Publish dead letters again where they were, and forget that they were dead."""

    async def replay(client: Client) -> None:
        for sequence in sequences:
            body = await client.dead.replay(sequence)
            click.echo(f"Replayed {sequence} as {body.sequence} of {body.stream}")

    target.call(replay)


@click.command("resync", epilog=example("trimtab resync"))
@connected
def resync(target: Target) -> None:
    """Say everything again to the other services, for one that has lost what it knew.

    Every record gets a new version. It is done without being asked where the stream has lost what
    was sent.
    """
    body = target.call(lambda client: client.resync())
    click.echo(
        f"Said {body.settings} settings and {body.executions} executions again; whoever has "
        f"reached revision {body.revision} knows all"
    )
