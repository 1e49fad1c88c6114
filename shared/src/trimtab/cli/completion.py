"""``trimtab completion SHELL``, and the names that a shell completes by requests to the server."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import click
from click.shell_completion import get_completion_class

from trimtab import kinds
from trimtab.cli.commands import example
from trimtab.cli.server import selected_server
from trimtab.cli.terminal import show
from trimtab.client import Client
from trimtab.errors import TrimtabError

_TIMEOUT_SECONDS = 2.0
"""The user waits at the prompt and sees no progress."""

Completion = Callable[[click.Context, click.Parameter, str], list[str]]


@click.command("completion", epilog=example("trimtab completion bash"))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script for a SHELL that completes commands, kinds, projects and domains.

    \b
    bash: eval "$(trimtab completion bash)"      in ~/.bashrc
    zsh:  eval "$(trimtab completion zsh)"       in ~/.zshrc
    fish: trimtab completion fish | source       in ~/.config/fish/config.fish
    """
    script = get_completion_class(shell)
    assert script is not None  # click has a class for each of the choices above
    root = click.get_current_context().find_root().command
    show(script(root, {}, "trimtab", "_TRIMTAB_COMPLETE").source())


def complete_names(plural: str) -> Completion:
    """Return a completion for the names of ``projects`` or ``domains``."""

    def complete(context: click.Context, _parameter: click.Parameter, prefix: str) -> list[str]:
        names = _request(context, lambda client: _names(client, plural))
        return [name for name in names if name.startswith(prefix)]

    return complete


def complete_nouns(context: click.Context, prefix: str) -> list[str]:
    """Return the nouns of kinds with the prefix, also of kinds that only the server has."""
    installed = [kind.noun for kind in kinds.registered().values()]
    from_server = _request(context, _nouns)
    nouns = dict.fromkeys([*installed, *from_server])
    return [noun for noun in nouns if noun.startswith(prefix)]


async def _names(client: Client, plural: str) -> Sequence[str]:
    found = await (client.projects.list() if plural == "projects" else client.domains.list())
    return [one.name for one in found]


async def _nouns(client: Client) -> Sequence[str]:
    return [kind.noun for kind in await client.kinds.list()]


def _request(
    context: click.Context, work: Callable[[Client], Awaitable[Sequence[str]]]
) -> Sequence[str]:
    """Return the names, or none where the server does not respond within the timeout."""

    async def with_timeout(client: Client) -> Sequence[str]:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await work(client)

    try:
        return selected_server(context).call(with_timeout)
    except (TrimtabError, TimeoutError):
        return ()
