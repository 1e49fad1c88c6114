"""``trimtab namespaces diff``: how a namespace differs from what its templates render."""

from collections.abc import Iterator, Sequence

import click

from trimtab.api.namespaces import NamespaceDifferenceBody
from trimtab.cli.commands import Failure, example
from trimtab.cli.completion import complete_names
from trimtab.cli.configuration import Output
from trimtab.cli.diffs import unified_object_diff
from trimtab.cli.documents import DIFF_ERROR, DIFFERENT
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import output_option, show, show_data
from trimtab.client import Client
from trimtab.errors import TrimtabError


@click.command(
    "diff", epilog=example("trimtab namespaces diff shop-development --cluster embedded")
)
@click.argument("namespace", shell_complete=complete_names("namespaces"))
@click.option("--cluster", help="Only on this cluster; otherwise on each.")
@output_option()
@with_server
@click.pass_context
def diff(
    context: click.Context, server: Server, namespace: str, cluster: str | None, output: Output
) -> None:
    """Show how the objects of a NAMESPACE differ from what its templates render.

    A diff leads from the object on the cluster to the rendered one. Values of Secrets are hidden:
    equal ones have equal hashes. The exit code is 0 where nothing differs, 1 where something does,
    and more than 1 for an error.
    """
    try:
        found = server.call(lambda client: _differences(client, namespace, cluster))
    except TrimtabError as error:
        failure = Failure.of(error)
        if failure.exit_code == DIFFERENT:
            failure.exit_code = DIFF_ERROR
        raise failure from error
    if output != "table":
        show_data([body.model_dump(mode="json") for body in found], output)
    else:
        for text in (text for body in found for text in difference_texts(body)):
            show(text)
    if any(body.objects or body.omitted for body in found):
        context.exit(DIFFERENT)


async def _differences(
    client: Client, namespace: str, cluster: str | None
) -> Sequence[NamespaceDifferenceBody]:
    if cluster:
        return [await client.namespaces.diff(cluster, namespace)]
    statuses = await client.namespaces.list(namespace=namespace)
    present = [status for status in statuses if status.state != "removed"]
    # Where each is removed, the reason is the error.
    return [
        await client.namespaces.diff(status.cluster, namespace) for status in present or statuses
    ]


def difference_texts(body: NamespaceDifferenceBody) -> Iterator[str]:
    """Yield the unified diff of each object, and what there was no room for."""
    for difference in body.objects:
        name = f"{body.cluster}/{body.namespace}/{difference.object}"
        if difference.too_large:
            yield f"{name} differs, and is too large to be shown"
        else:
            yield unified_object_diff(name, difference.live, difference.desired)
    if body.omitted:
        yield f"{body.cluster}/{body.namespace}: {body.omitted} more objects differ"
