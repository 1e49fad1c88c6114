"""``trimtab get namespaces``: the state of each namespace, and of the objects of one."""

from datetime import UTC, datetime

import click

from trimtab.cli.commands import example
from trimtab.cli.completion import complete_names
from trimtab.cli.configuration import Output
from trimtab.cli.scopes import domain_option, project_option
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import (
    Columns,
    duration,
    output_option,
    progress,
    show,
    show_list,
    table_of,
)
from trimtab.messages.events import NamespaceStatus, ObjectStatus

_AS_RENDERED = ("applied", "unchanged")
_RENDERED = (*_AS_RENDERED, "failed", "conflicted", "drifted")
_NAMESPACES: Columns[NamespaceStatus] = {
    "NAMESPACE": lambda status: status.namespace,
    "CLUSTER": lambda status: status.cluster,
    "STATE": lambda status: status.state,
    "READY": lambda status: _ready(status),
    "REVISION": lambda status: status.revision,
    "AGE": lambda status: duration((datetime.now(UTC) - status.at).total_seconds()),
    "REASON": lambda status: status.error or _remark(status),
}
_WIDE: Columns[NamespaceStatus] = {
    "PROJECT": lambda status: status.project,
    "DOMAIN": lambda status: status.domain,
    "USABLE": lambda status: status.usable,
    "OBJECTS": lambda status: status.objects,
    "SECONDS": lambda status: status.seconds,
    "AT": lambda status: status.at,
}
_OBJECTS: Columns[ObjectStatus] = {
    "OBJECT": lambda detail: detail.object,
    "OUTCOME": lambda detail: detail.outcome,
    "SECONDS": lambda detail: detail.seconds,
    "MESSAGE": lambda detail: detail.message,
}


@click.command(
    "namespaces",
    epilog=example("trimtab get namespaces -p shop", "trimtab get namespaces shop-development"),
)
@click.argument("name", required=False, shell_complete=complete_names("namespaces"))
@project_option("Only of this project.")
@domain_option("Only of this domain.")
@click.option("--cluster", help="Only on this cluster.")
@click.option(
    "--state",
    type=click.Choice(["ready", "failed", "removed"]),
    help="Only in this state. Namespaces that were removed are not listed otherwise.",
)
@output_option()
@with_server
def list_namespaces(
    server: Server,
    name: str | None,
    project: str | None,
    domain: str | None,
    cluster: str | None,
    state: str | None,
    output: Output,
) -> None:
    """List the namespace of each project and domain on each cluster, or the objects of one NAME.

    READY counts the objects that are as the templates render them, and AGE is the time since the
    status changed.
    """
    found = server.call(
        lambda client: client.namespaces.list(cluster, project, domain, name, state)
    )
    if name is None or output != "table":
        show_list(found, output, _NAMESPACES, _WIDE)
        return
    for number, status in enumerate(found):
        _show_objects(status, is_first=number == 0)


def _show_objects(status: NamespaceStatus, *, is_first: bool) -> None:
    """Print the status of a namespace on one cluster, and a row for each object."""
    usable = "usable" if status.usable else "not usable"
    head = f"{status.namespace} on {status.cluster}: {status.state}, {usable}, "
    show("\n" * (not is_first) + f"{head}revision {status.revision}")
    if status.error:
        show(status.error)
    if status.details:
        show(table_of(status.details, _OBJECTS))
    others = sum(status.counts.values()) - len(status.details)
    if others > 0:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in status.counts.items())
        progress(f"{others} more objects; all are: {counts}")


def _ready(status: NamespaceStatus) -> str:
    ready = sum(status.counts.get(outcome, 0) for outcome in _AS_RENDERED)
    rendered = sum(status.counts.get(outcome, 0) for outcome in _RENDERED)
    return f"{ready}/{max(rendered, len(status.objects))}"


def _remark(status: NamespaceStatus) -> str:
    """Return the objects of a namespace that are neither as rendered nor failed."""
    return ", ".join(
        f"{count} {outcome}"
        for outcome, count in status.counts.items()
        if outcome not in _AS_RENDERED
    )
