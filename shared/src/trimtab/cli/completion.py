"""``trimtab completion SHELL``, and what it completes beside commands and flags."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

from trimtab import kinds
from trimtab.cli.configuration import Configuration, configured
from trimtab.cli.failures import example
from trimtab.cli.target import Target
from trimtab.client import Client
from trimtab.embedded.directory import DEFAULT
from trimtab.errors import TrimtabError

_PATIENCE_SECONDS = 2.0
"""Somebody has pressed a key and sees nothing."""

Completion = Callable[[click.Context, click.Parameter, str], list[str]]


@click.command("completion", epilog=example("trimtab completion bash"))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a SHELL complete commands, kinds, projects and domains.

    \b
    bash: eval "$(trimtab completion bash)"      in ~/.bashrc
    zsh:  eval "$(trimtab completion zsh)"       in ~/.zshrc
    fish: trimtab completion fish | source       in ~/.config/fish/config.fish
    """
    found = get_completion_class(shell)
    assert found is not None  # the choices above are click's
    root = click.get_current_context().find_root().command
    click.echo(found(root, {}, "trimtab", "_TRIMTAB_COMPLETE").source())


def names_of(noun: str) -> Completion:
    """Completes names of ``projects`` or ``domains``."""

    def complete(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
        names = _asked(context, lambda client: _names(client, noun))
        return [name for name in names if name.startswith(begun)]

    return complete


def nouns(context: click.Context, begun: str) -> list[str]:
    """Of kinds, those that only the server has too."""
    known = [kind.noun for kind in kinds.registered().values()]
    asked = _asked(context, _nouns)
    return [noun for noun in dict.fromkeys([*known, *asked]) if noun.startswith(begun)]


async def _names(client: Client, noun: str) -> Sequence[str]:
    found = await (client.projects.list() if noun == "projects" else client.domains.list())
    return [one.name for one in found]


async def _nouns(client: Client) -> Sequence[str]:
    return [kind.noun for kind in await client.kinds.list()]


def _asked(
    context: click.Context, work: Callable[[Client], Awaitable[Sequence[str]]]
) -> Sequence[str]:
    """Nothing, where the server does not answer at once."""

    async def soon(client: Client) -> Sequence[str]:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await work(client)

    try:
        return _target(context.params).call(soon)
    except (TrimtabError, TimeoutError):
        return ()


def _target(given: Mapping[str, Any]) -> Target:
    """Of a line that is not finished, in which click has found no defaults yet."""
    data = given.get("data") or os.environ.get("TRIMTAB_DATA")
    configuration = Configuration() if data else configured()
    server = given.get("server") or os.environ.get("TRIMTAB_SERVER") or configuration.server
    token = os.environ.get("TRIMTAB_TOKEN") or configuration.token(server)
    return Target(server or None, token or None, Path(data or DEFAULT))
