"""Which installation a command talks to, and with which token."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

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


def connected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--server`` and ``--data``, and gives the command its `Target` as ``target``."""

    @click.option(
        "--server",
        envvar="TRIMTAB_SERVER",
        help="URL of the API; the embedded system's where absent.  "
        "[env: TRIMTAB_SERVER; its token: TRIMTAB_TOKEN]",
    )
    @click.option("--token", envvar="TRIMTAB_TOKEN", hidden=True)
    @data_option
    def wrapped(*, server: str | None, token: str | None, data: Path, **options: Any) -> Any:
        return command(target=Target(server, token, data), **options)

    wrapped.__doc__ = command.__doc__
    wrapped.__click_params__ = [  # type: ignore[attr-defined]  # where click keeps options
        *getattr(command, "__click_params__", []),
        *getattr(wrapped, "__click_params__", []),
    ]
    return wrapped
