"""The server that a command calls: its URL, API token, and the flags that select it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from trimtab.cli.configuration import (
    configuration_options,
    configured,
    flagged_context,
    origin,
)
from trimtab.cli.terminal import warn
from trimtab.client import Client
from trimtab.client.addresses import check_token
from trimtab.embedded.directory import DEFAULT, Directory
from trimtab.errors import Invalid, Unauthorized, Unavailable

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Token:
    """An API token, and where it is from."""

    text: str = field(repr=False)
    source: str


@dataclass(frozen=True)
class Server:
    """The API at a URL, or that of the embedded system in a data directory."""

    url: str | None
    """``None`` selects the embedded system."""
    token: Token | None
    data: Path
    _warned: set[str] = field(default_factory=set, compare=False, repr=False)
    """The warnings that were printed: calls of one command are about the same names."""

    def call(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Run a coroutine with a client, and return its result.

        Raises `trimtab.errors.TrimtabError`.
        """
        url, token = self._resolve()
        check_token(token.text, token.source)

        async def with_client() -> T:
            async with Client(url, token.text, self._warn) as client:
                return await work(client)

        try:
            return asyncio.run(with_client())
        except UnicodeEncodeError as error:
            # The text is that of the whole request.
            wrong = error.object[error.start]
            raise Invalid("an argument", wrong, "text that UTF-8 can encode") from error

    def api_token(self) -> str:
        """Return the API token that `call` sends. Raises `Unauthorized` where there is none."""
        token = self.token or self._resolve()[1]
        check_token(token.text, token.source)
        if not token.text:
            raise Unauthorized(
                "no API token is configured for this server: set TRIMTAB_TOKEN, or token_file"
            )
        return token.text

    def _warn(self, warning: str) -> None:
        if warning not in self._warned:
            self._warned.add(warning)
            warn(warning)

    def _resolve(self) -> tuple[str, Token]:
        """Return the URL and the API token; raises `Unavailable` where there is no URL."""
        directory = Directory(self.data)
        local = directory.url()
        url = self.url or local
        if url is None:
            raise Unavailable(
                f"no Trimtab runs on the data directory {self.data}; start one with "
                "`trimtab up`, or name a server with --server or TRIMTAB_SERVER"
            )
        # The token in the data directory is sent to its own system only.
        own = directory.api_token() if local is not None and url.rstrip("/") == local else ""
        return url, self.token or Token(own, str(directory.token_file))


def data_option(command: F) -> F:
    """Add ``--data``."""
    return click.option(
        "--data",
        type=click.Path(path_type=Path),
        default=DEFAULT,
        show_default=True,
        envvar="TRIMTAB_DATA",
        help="Data directory of the embedded system.  [env: TRIMTAB_DATA]",
    )(command)


def server_options(command: F) -> F:
    """Add ``--server``, ``--data``, the hidden ``--token``, and the configuration."""
    for option in (
        configuration_options,
        data_option,
        click.option("--token", "api_token", envvar="TRIMTAB_TOKEN", hidden=True),
        click.option(
            "--server",
            envvar="TRIMTAB_SERVER",
            help="URL of the API; default: the embedded system.  "
            "[env: TRIMTAB_SERVER; its API token: TRIMTAB_TOKEN]",
        ),
    ):
        command = option(command)
    return command


def with_server(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `server_options`, and pass the `Server` to the command as ``server``."""

    @server_options
    def wrapped(*, server: str | None, api_token: str | None, data: Path, **options: Any) -> Any:
        return command(server=selected_server(click.get_current_context()), **options)

    wrapped.__doc__ = command.__doc__
    wrapped.__click_params__ = [  # type: ignore[attr-defined]  # where click stores options
        *getattr(command, "__click_params__", []),
        *getattr(wrapped, "__click_params__", []),
    ]
    return wrapped


def server_in_arguments(context: click.Context, arguments: Sequence[str]) -> Server:
    """Return the server that arguments select, before their command has parsed them."""
    return selected_server(_server_only.make_context(None, list(arguments), parent=context))


# It ignores all other options and their values.
@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@server_options
def _server_only(**_options: Any) -> None:
    pass


def selected_server(context: click.Context) -> Server:
    """Select by flag first, then by environment variable, then by the configuration file.

    Raises `trimtab.errors.TrimtabError` where the configuration file is not valid.
    """
    (url, _), token = selected_url(context), given_token(context)
    if url is not None and (token is None or flagged_context(context)):
        defaults = configured(context)
        stored = defaults.token(url)
        token = Token(stored, f"token_file {defaults.token_file}") if stored else token
    return Server(url, token, Path(context.params.get("data") or DEFAULT))


def given_token(context: click.Context) -> Token | None:
    """Return the token of the flag or of the environment."""
    text = context.params.get("api_token")
    is_flag = context.get_parameter_source("api_token") is ParameterSource.COMMANDLINE
    return Token(text, "--token" if is_flag else "TRIMTAB_TOKEN") if text else None


def selected_url(context: click.Context) -> tuple[str | None, str]:
    """Return the selected URL and its origin; ``None`` selects the embedded system.

    Raises as `selected_server`.
    """
    url: str | None = context.params.get("server")
    url_source, data_source = map(context.get_parameter_source, ("server", "data"))
    if url_source is ParameterSource.COMMANDLINE:
        return url, "--server"
    if data_source is ParameterSource.COMMANDLINE:
        return None, "--data"
    # The variables may be those of another server than that of a context given by flag.
    if not (flagged_context(context) and configured(context).server):
        if url is not None:
            return url, "TRIMTAB_SERVER"
        if data_source is ParameterSource.ENVIRONMENT:
            return None, "TRIMTAB_DATA"
    return configured(context).server or None, origin("server", context)
