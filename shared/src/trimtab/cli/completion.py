"""``trimtab completion SHELL``, and the names that a shell completes by requests to the server."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import get_completion_class

from trimtab import kinds
from trimtab.cli.commands import example
from trimtab.cli.server import Server, selected_server
from trimtab.cli.terminal import show
from trimtab.client import Client

_TIMEOUT_SECONDS = 1.0
"""The user waits at the prompt and sees no progress."""

T = TypeVar("T")
Completion = Callable[[click.Context, click.Parameter, str], list[str]]


@click.command("completion", epilog=example("trimtab completion bash"))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script for a SHELL that completes commands, kinds and names.

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
    """Return a completion for the names of one type of objects, which is a key of `_LISTS`."""

    def complete(context: click.Context, _parameter: click.Parameter, prefix: str) -> list[str]:
        names = request_quietly(
            lambda: selected_server(context),
            lambda client: _LISTS[plural](client, context.params),
        )
        return [name for name in dict.fromkeys(names) if name.startswith(prefix)]

    return complete


def complete_nouns(context: click.Context, prefix: str) -> list[str]:
    """Return the nouns of kinds with the prefix, also of kinds that only the server has."""
    installed = [kind.noun for kind in kinds.registered().values()]
    from_server = request_quietly(lambda: selected_server(context), _nouns)
    nouns = dict.fromkeys([*installed, *from_server])
    return [noun for noun in nouns if noun.startswith(prefix)]


Names = Callable[[Client, Mapping[str, Any]], Awaitable[Sequence[str]]]


async def _projects(client: Client, _options: Mapping[str, Any]) -> Sequence[str]:
    return [body.name for body in await client.projects.list()]


async def _domains(client: Client, _options: Mapping[str, Any]) -> Sequence[str]:
    return [body.name for body in await client.domains.list()]


async def _pools(client: Client, _options: Mapping[str, Any]) -> Sequence[str]:
    return [body.name for body in await client.pools.list()]


async def _queues(client: Client, _options: Mapping[str, Any]) -> Sequence[str]:
    return [body.name for body in await client.queues.list()]


async def _workflows(client: Client, options: Mapping[str, Any]) -> Sequence[str]:
    found = await client.workflows.list(options.get("project"), options.get("domain"))
    return [body.workflow.name for body in found]


async def _launch_plans(client: Client, options: Mapping[str, Any]) -> Sequence[str]:
    found = await client.launch_plans.list(options.get("project"), options.get("domain"))
    plans = [body.launch_plan for body in found]
    return [plan.name for plan in plans if options.get("workflow") in (None, "", plan.workflow)]


async def _executions(client: Client, options: Mapping[str, Any]) -> Sequence[str]:
    found = await client.executions.list(options.get("project"), options.get("domain"))
    return [body.id for body in found]


async def _namespaces(client: Client, options: Mapping[str, Any]) -> Sequence[str]:
    found = await client.namespaces.list(options.get("cluster"))
    return [status.namespace for status in found]


_LISTS: Mapping[str, Names] = {
    "projects": _projects,
    "domains": _domains,
    "pools": _pools,
    "queues": _queues,
    "workflows": _workflows,
    "launch plans": _launch_plans,
    "executions": _executions,
    "namespaces": _namespaces,
}


async def _nouns(client: Client) -> Sequence[str]:
    return [kind.noun for kind in await client.kinds.list()]


def request_quietly(
    select: Callable[[], Server], work: Callable[[Client], Awaitable[Sequence[T]]]
) -> Sequence[T]:
    """Return what the server lists, or nothing where it cannot within the timeout."""

    async def with_timeout(client: Client) -> Sequence[T]:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await work(client)

    try:
        return select().call(with_timeout)
    except Exception:  # noqa: BLE001  # a message would be printed into the line that is edited
        return ()
