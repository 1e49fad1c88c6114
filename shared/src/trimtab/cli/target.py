"""Which installation a command talks to, and with which token."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from trimtab.cli.configuration import configured
from trimtab.client import Client
from trimtab.embedded.directory import DEFAULT, Directory
from trimtab.errors import Unavailable

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Target:
    """An address, or the data directory of an embedded system that has one."""

    server: str | None
    token: str | None
    data: Path

    def call(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Do work with a client. Raises `trimtab.errors.TrimtabError`."""
        url, token = self._resolved()

        async def within() -> T:
            async with Client(url, token) as client:
                return await work(client)

        return asyncio.run(within())

    def _resolved(self) -> tuple[str, str]:
        directory = Directory(self.data)
        local = directory.url()
        url = self.server or local
        if url is None:
            raise Unavailable(
                f"no Trimtab runs on the data directory {self.data}; start one with "
                "`trimtab up`, or name a server with --server or TRIMTAB_SERVER"
            )
        # The token of the directory is for its own system and for nobody else.
        own = directory.token() if local is not None and url.rstrip("/") == local else ""
        return url, self.token or own


def data_option(command: F) -> F:
    """Adds ``--data``."""
    return click.option(
        "--data",
        type=click.Path(path_type=Path),
        default=DEFAULT,
        show_default=True,
        envvar="TRIMTAB_DATA",
        help="Data directory of the embedded system.  [env: TRIMTAB_DATA]",
    )(command)


def target_options(command: F) -> F:
    """Adds ``--server`` and ``--data``, and what is as good as them."""
    for option in (
        data_option,
        click.option("--token", "api_token", envvar="TRIMTAB_TOKEN", hidden=True),
        click.option(
            "--server",
            envvar="TRIMTAB_SERVER",
            help="URL of the API; the embedded system's where absent.  "
            "[env: TRIMTAB_SERVER; its token: TRIMTAB_TOKEN]",
        ),
    ):
        command = option(command)
    return command


def connected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--server`` and ``--data``, and gives the command its `Target` as ``target``."""

    @target_options
    def wrapped(*, server: str | None, api_token: str | None, data: Path, **options: Any) -> Any:
        return command(target=_target(click.get_current_context()), **options)

    wrapped.__doc__ = command.__doc__
    wrapped.__click_params__ = [  # type: ignore[attr-defined]  # where click keeps options
        *getattr(command, "__click_params__", []),
        *getattr(wrapped, "__click_params__", []),
    ]
    return wrapped


def target_among(context: click.Context, arguments: Sequence[str]) -> Target:
    """The target that is named among arguments which nobody has read yet."""
    return _target(_only_target.make_context(None, list(arguments), parent=context))


# Other options, and their values, are words without a meaning to it.
@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@target_options
def _only_target(**_options: Any) -> None:
    pass


def _target(context: click.Context) -> Target:
    """What is named nearest: by a flag, then by the environment, then by the file.

    Raises `trimtab.errors.Rejected` where that file is no good.
    """
    server, token, data = (context.params[name] for name in ("server", "api_token", "data"))
    by_server, by_data = (context.get_parameter_source(name) for name in ("server", "data"))
    if by_data is ParameterSource.COMMANDLINE and by_server is ParameterSource.ENVIRONMENT:
        server = None
    if server is None and by_data is ParameterSource.DEFAULT:
        server = configured().server or None
    if server is not None and token is None:
        token = configured().token(server) or None
    return Target(server, token, data)
