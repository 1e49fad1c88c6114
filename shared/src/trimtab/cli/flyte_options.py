"""The running Flyte 1 that a command reads or writes, and the flags that select it."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.errors import Rejected

if TYPE_CHECKING:
    from trimtab.flyte.client import FlyteAdmin


@dataclass(frozen=True)
class FlyteServer:
    """The gRPC endpoint of a Flyte 1, and how its calls are authenticated."""

    endpoint: str
    insecure: bool
    ca_file: Path | None
    token_file: Path | None
    token_command: str

    def client(self) -> "FlyteAdmin":
        """Return a client that is not connected yet. Raises `trimtab.errors.Rejected`."""
        # Importing gRPC takes longer than most commands run.
        from trimtab.flyte import client  # noqa: PLC0415

        if self.token_file and self.token_command:
            raise Rejected("give one of --flyte-token-file and --flyte-token-command")
        token = None
        if self.token_file:
            token = client.token_of_file(self.token_file)
        elif self.token_command:
            token = client.token_of_command(shlex.split(self.token_command))
        return client.FlyteAdmin(
            self.endpoint, insecure=self.insecure, ca_file=self.ca_file, token=token
        )


def with_flyte(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags, and pass the `FlyteServer` to the command as ``flyte``."""
    options = (
        click.option(
            "--flyte-token-command",
            default="",
            metavar="COMMAND",
            help="Program that prints the token for Flyte, as authType: ExternalCommand has it.",
        ),
        click.option(
            "--flyte-token-file",
            type=click.Path(dir_okay=False, path_type=Path),
            help="File that holds the token for Flyte.",
        ),
        click.option(
            "--ca-file",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Certificates that Flyte's is checked with; those of the system by default.",
        ),
        click.option("--insecure", is_flag=True, help="Connect to Flyte without TLS."),
        click.option(
            "--endpoint", required=True, metavar="HOST:PORT", help="Flyte's gRPC endpoint."
        ),
    )

    def wrapped(
        *,
        endpoint: str,
        insecure: bool,
        ca_file: Path | None,
        flyte_token_file: Path | None,
        flyte_token_command: str,
        **arguments: Any,
    ) -> Any:
        if missing := [name for name in ("flyteidl", "grpc") if find_spec(name) is None]:
            raise Rejected(f"there is no package {missing[0]}: install trimtab[flyte]")
        flyte = FlyteServer(endpoint, insecure, ca_file, flyte_token_file, flyte_token_command)
        return command(flyte=flyte, **arguments)

    wrapped.__doc__ = command.__doc__
    wrapped.__click_params__ = list(  # type: ignore[attr-defined]  # where click stores options
        getattr(command, "__click_params__", [])
    )
    with_options: Callable[..., Any] = wrapped
    for option in options:
        with_options = option(with_options)
    return with_options
