"""``trimtab doctor``: check an installation, and name the next step for each problem."""

from collections.abc import Awaitable, Iterator
from typing import TypeVar

import click

from trimtab.cli.checks import Evidence, Finding, findings
from trimtab.cli.commands import Failure, example
from trimtab.cli.configuration import Output
from trimtab.cli.server import Server, with_server
from trimtab.cli.status import find_parts, parts_of
from trimtab.cli.terminal import output_option, show, show_data
from trimtab.client import Client
from trimtab.embedded.directory import Directory
from trimtab.errors import TrimtabError

T = TypeVar("T")


@click.command("doctor", epilog=example("trimtab doctor"))
@output_option()
@with_server
def doctor(server: Server, output: Output) -> None:
    """Check the installation, and show the next step for each problem.

    The API token, the services, the templates, each cluster with the permissions of clusterres, and
    the namespaces are checked. The exit code is 1 where there is a problem; a warning is none.
    """
    directory = Directory(server.data)
    try:
        evidence = server.call(lambda client: _evidence(client, directory))
    except TrimtabError as error:  # no server is named, and none runs here
        evidence = Evidence(status_error=error)
    found = findings(evidence)
    if output == "table":
        show(*(line for finding in found for line in _lines(finding)))
    else:
        show_data([finding.model_dump(mode="json") for finding in found], output)
    if problems := sum(finding.state == "problem" for finding in found):
        raise Failure(f"{problems} problem{'s' if problems > 1 else ''}")


def _lines(finding: Finding) -> Iterator[str]:
    """Yield the finding, and its next step below the message."""
    yield f"{finding.state:<8} {finding.check:<11} {finding.message}"
    if finding.next:
        yield f"{'':<20} {finding.next}"


async def _evidence(client: Client, directory: Directory) -> Evidence:
    answers = await find_parts(client, directory)
    if answers.error is not None:
        return Evidence(parts_of(answers), answers.error)
    return Evidence(
        parts_of(answers),
        clusterres=await _or_error(client.clusterres()),
        clusters=await _or_error(client.clusters.list()),
        namespaces=await _or_error(client.namespaces.list()),
    )


async def _or_error(call: Awaitable[T]) -> T | TrimtabError:
    try:
        return await call
    except TrimtabError as error:
        return error
