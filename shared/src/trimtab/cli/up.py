"""``trimtab up``: run the embedded system in the foreground."""

import asyncio
import json
import shlex
import sys
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from shutil import which

import click

from trimtab.cli.commands import example
from trimtab.cli.server import data_option
from trimtab.cli.terminal import progress, show
from trimtab.embedded import system
from trimtab.embedded.directory import Directory
from trimtab.embedded.programs import CLUSTER, TEMPLATES, Choices, System

_REPORT_SECONDS = 5.0


@click.command("up", epilog=example("trimtab up"))
@data_option
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the API; a free one by default."
)
@click.option(
    "--grpc-port",
    type=click.IntRange(1, 65535),
    help="Port of gRPC for clients of Flyte; a free one by default.",
)
@click.option(
    "--templates",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=TEMPLATES,
    help="Directory of the templates of each namespace; three examples by default.",
)
@click.option(
    "--settings",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings file of the services; settings.yaml of the data directory by default.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Kubeconfig file of a Kubernetes cluster, which then has the namespaces; "
    "a directory of manifests by default.",
)
@click.option(
    "--context", metavar="NAME", help="Context of the kubeconfig; its current one by default."
)
def up(
    data: Path,
    port: int | None,
    grpc_port: int | None,
    templates: Path,
    settings: Path | None,
    kubeconfig: Path | None,
    context: str | None,
) -> None:
    """Start NATS, Valkey and the four services, and run them until Ctrl-C.

    All data is in one directory; the next start uses it again. A stop leaves the namespaces of a
    Kubernetes cluster as they are.
    """
    if context is not None and kubeconfig is None:
        raise click.UsageError("--context is that of a kubeconfig: give --kubeconfig too")
    choices = Choices(port, templates, settings, kubeconfig, context, grpc_port)
    has_data = Directory(data).database.exists()

    def ready(directory: Directory, running: System, seconds: float) -> None:
        # The terminal may be closed while the programs run.
        with suppress(OSError):
            _show_addresses(directory, running, seconds, _cluster(directory, choices))
            _show_commands(directory, has_data=has_data)

    asyncio.run(system.up(data, choices, report=_report, ready=ready))


def _report(line: str) -> None:
    # The terminal may be closed while the programs are still being stopped.
    with suppress(OSError):
        progress(line)


def _cluster(directory: Directory, choices: Choices) -> str:
    """Return where the namespaces are."""
    if choices.kubeconfig is None:
        return str(directory.cluster(CLUSTER))
    context = f"context {choices.context}" if choices.context else "the current context"
    return f"{context} of {choices.kubeconfig.absolute()}"


def _show_addresses(directory: Directory, running: System, seconds: float, namespaces: str) -> None:
    nats, _valkey = running.servers
    lines = {
        "page": f"{running.url}  (in a browser)",
        "API": f"{running.url}/api/v2  (described in /api/v2/openapi.json)",
        **({"gRPC": f"{running.grpc}  (for clients of Flyte)"} if running.grpc else {}),
        "token": directory.token_file,
        "namespaces": namespaces,
        "logs": directory.logs,
        "isolation": _isolation(running),
        "NATS": f"127.0.0.1:{nats.probe.port}  (user and password are in {directory.nats_file})",
    }
    show(f"Trimtab is up after {seconds:.1f} s. Ctrl-C stops it.")
    for name, value in lines.items():
        show(f"  {name:<11}{value}")


def _show_commands(directory: Directory, *, has_data: bool) -> None:
    """Print commands that work in any directory of another terminal."""
    program = "trimtab" if which("trimtab") else Path(sys.argv[0]).absolute()
    commands = ["status", "get kinds"]
    if has_data:
        commands += ["get projects", "get executions"]
    else:
        commands += ["register project shop", "effective -p shop -d development"]
    show("Commands to try next, in another terminal:")
    for command in commands:
        show(f"  {program} {command} --data {shlex.quote(str(directory.path))}")


def _isolation(running: System) -> str:
    """Return the restriction of tasks that propeller reports."""
    [port] = [each.probe.port for each in running.services if each.name == "propeller"]
    try:
        with closing(HTTPConnection("127.0.0.1", port, timeout=_REPORT_SECONDS)) as connection:
            connection.request("GET", "/readyz")
            ready = json.load(connection.getresponse())
    except (OSError, HTTPException, ValueError):
        return "unknown: propeller does not respond"
    return f"of tasks by {ready.get('isolation')}"
