"""``trimtab namespaces``: its ``prune`` deletes objects after an admin has confirmed the list."""

import asyncio
import time

import click

from trimtab.api.maintenance import PruneBody
from trimtab.cli.commands import Failure, dry_run_option, example, reason_option
from trimtab.cli.completion import complete_names
from trimtab.cli.configuration import Output
from trimtab.cli.groups import CommandGroup
from trimtab.cli.namespace_diffs import diff
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import output_option, progress, show, show_data
from trimtab.client import Client
from trimtab.errors import Code, NotFound

_POLL_SECONDS = 0.5

namespaces = CommandGroup(
    "namespaces",
    help="Compare namespaces with their templates, and delete what none of these renders.",
)
namespaces.add_command(diff)


@namespaces.command("prune", epilog=example("trimtab namespaces prune shop-development"))
@click.argument("namespace")
@click.option(
    "--cluster",
    shell_complete=complete_names("clusters"),
    help="Cluster of the namespace; needed where several clusters have it.",
)
@click.option("--digest", help="Digest of the list that is confirmed.")
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="Seconds to wait until the objects are deleted; 0 does not wait.",
)
@reason_option
@dry_run_option
@output_option()
@with_server
def prune(
    server: Server,
    namespace: str,
    cluster: str | None,
    digest: str | None,
    timeout: float,
    reason: str,
    dry_run: bool,
    output: Output,
) -> None:
    """Delete the objects of NAMESPACE that nothing renders any longer.

    Without --digest nothing changes: it lists the objects that would be deleted, and the command
    that confirms this list. clusterres deletes them if the list is still the same.
    """
    is_confirmed = bool(digest) and not dry_run

    async def call(client: Client) -> tuple[PruneBody, bool]:
        found = cluster or await _only_cluster(client, namespace)
        body = await client.namespaces.prune(
            found, namespace, digest or "", reason=reason, dry_run=not is_confirmed
        )
        is_done = is_confirmed and timeout > 0 and await _wait(client, body, timeout)
        return body, is_done

    body, is_done = server.call(call)
    if output != "table":
        show_data({**body.model_dump(mode="json"), "pruned": is_done}, output)
    elif is_confirmed:
        done = "Deleted" if is_done else "Confirmed the deletion of"
        show(f"{done} {_count(body)} of namespace {body.namespace} on cluster {body.cluster}")
    else:
        show("\n".join(_listed(body)))


async def _only_cluster(client: Client, namespace: str) -> str:
    """Return the cluster whose namespace awaits a confirmation, or the only one that has it."""
    on = {status.cluster: status for status in await client.namespaces.list(namespace=namespace)}
    if not on:
        others = [*await client.namespaces.list(), *await client.namespaces.list(state="removed")]
        raise NotFound.among("namespace", namespace, sorted({one.namespace for one in others}))
    waiting = [name for name, status in on.items() if status.prune_digest]
    candidates = waiting or list(on)
    if len(candidates) > 1:
        names = ", ".join(sorted(candidates))
        message = f"namespace {namespace!r} is on several clusters; --cluster names one: {names}"
        raise Failure(message, Code.INVALID)
    return candidates[0]


async def _wait(client: Client, body: PruneBody, timeout: float) -> bool:
    """Wait until the objects are deleted. Raises `Failure` where the list changes or time is up."""
    reported = ""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        status = await client.namespaces.get(body.cluster, body.namespace)
        is_failed = status.state == "failed"
        if not (status.prune_digest or is_failed):
            return True
        if status.prune_digest not in ("", body.digest):
            raise Failure(
                "the list has changed, so clusterres deletes nothing: it has the digest "
                f"{status.prune_digest} now",
                Code.CONFLICT,
            )
        line = status.error if is_failed else f"waiting for clusterres to delete {_count(body)}"
        reported = _report(line, reported)
        await asyncio.sleep(_POLL_SECONDS)
    raise Failure(
        f"clusterres has not deleted {_count(body)} within {timeout:g} s; it goes on, and "
        "`trimtab get namespaces` shows the state",
        Code.UNAVAILABLE,
    )


def _report(line: str, last: str) -> str:
    """Print a line of progress, unless it was the last one; return it."""
    if line != last:
        progress(line)
    return line


def _count(body: PruneBody) -> str:
    return "1 object" if body.count == 1 else f"{body.count} objects"


def _listed(body: PruneBody) -> list[str]:
    where = f"namespace {body.namespace} on cluster {body.cluster}"
    if not body.digest:
        return [f"Nothing in {where} awaits a confirmation"]
    command = (
        f"trimtab namespaces prune {body.namespace} --cluster {body.cluster} --digest {body.digest}"
    )
    hidden = body.count - len(body.objects)
    return [
        f"Would delete {_count(body)} of {where}:",
        *(f"  {each}" for each in body.objects),
        *([f"  and {hidden} more"] if hidden else []),
        f"To delete exactly these: {command}",
    ]
