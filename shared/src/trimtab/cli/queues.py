"""``trimtab update queue`` and ``delete queue``."""

from typing import Any

import click

from trimtab.api.entities import QueueBody
from trimtab.cli.changes import dry_run_text, warning_texts
from trimtab.cli.commands import Failure, dry_run_option, example, reason_option
from trimtab.cli.completion import complete_names
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import show, warn
from trimtab.client import Client
from trimtab.errors import Code, NotFound
from trimtab.models import parse_model


@click.command(
    "queue", epilog=example("trimtab update queue batch --attribute critical --attribute gpu")
)
@click.argument("name", shell_complete=complete_names("queues"))
@click.option(
    "--attribute",
    "attributes",
    multiple=True,
    help="A tag that executions of the queue may have; repeated, it replaces all attributes.",
)
@click.option(
    "--cluster",
    "clusters",
    multiple=True,
    help="A cluster that has the queue; repeated, it replaces all clusters.",
)
@click.option("--every-cluster", is_flag=True, help="Every cluster has the queue.")
@click.option(
    "--system",
    type=click.Choice(["kueue", "child_queue"]),
    help="Where the name goes: to the label of Kueue, or to the annotation trimtab.io/child-queue.",
)
@dry_run_option
@with_server
def update_queue(
    server: Server, name: str, every_cluster: bool, dry_run: bool, **options: Any
) -> None:
    """Change the queue NAME, or create it.

    Executions go to the first queue, in the order of names, that has all tags of their setting
    execution-queue-attribute as attributes.
    """
    fields = {option: value for option, value in options.items() if value}
    if every_cluster and "clusters" in fields:
        raise Failure("--cluster and --every-cluster exclude each other", Code.INVALID)
    if every_cluster:
        fields["clusters"] = ()
    if not fields:
        raise Failure(
            "nothing to change: use --attribute, --cluster, --every-cluster or --system",
            Code.INVALID,
        )

    async def put(client: Client) -> str:
        try:
            stored = await client.queues.get(name)
        except NotFound:
            body, version = parse_model(QueueBody, {"name": name, **fields}), None
        else:
            body = parse_model(QueueBody, {**stored.model_dump(), **fields})
            version = stored.version
        if dry_run:
            changes = await client.queues.dry_put(body, version=version)
            for warning in warning_texts(changes):
                warn(warning)
            return dry_run_text(changes)
        return f"Updated queue {_summary(await client.queues.put(body, version=version))}"

    show(server.call(put))


@click.command("queue", epilog=example("trimtab delete queue batch"))
@click.argument("name", shell_complete=complete_names("queues"))
@reason_option
@dry_run_option
@with_server
def delete_queue(server: Server, name: str, reason: str, dry_run: bool) -> None:
    """Delete the queue NAME: no more executions go to it.

    Executions that were admitted before keep their queue. A warning names the settings that need
    the queue, and that no other queue fits.
    """

    async def delete(client: Client) -> str:
        queue = await client.queues.get(name)
        if dry_run:
            changes = await client.queues.dry_delete(name, version=queue.version)
            for warning in warning_texts(changes):
                warn(warning)
            return dry_run_text(changes)
        await client.queues.delete(name, version=queue.version, reason=reason)
        return f"Deleted queue {name}"

    show(server.call(delete))


def _summary(queue: QueueBody) -> str:
    clusters = ", ".join(queue.clusters) or "every cluster"
    attributes = ", ".join(queue.attributes) or "none"
    return f"{queue.name}: attributes {attributes}; on {clusters}; system {queue.system}"
