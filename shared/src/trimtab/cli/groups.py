"""Groups of commands: the first page of help, and one command for each kind."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from trimtab import kinds
from trimtab.cli import known
from trimtab.cli.completion import nouns
from trimtab.cli.failures import Commands, Failure
from trimtab.cli.target import target_among
from trimtab.errors import TrimtabError
from trimtab.kinds import Kind

_META = "trimtab.kinds of the server"


class Sections(Commands):
    """Help shows its commands by what they are for."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sections: dict[str, Sequence[str]] = {}
        """Names of commands by title."""

    def add_section(self, title: str, *commands: click.Command) -> None:
        for command in commands:
            self.add_command(command)
        self.sections[title] = [str(command.name) for command in commands]

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.commands))
        for title, names in self.sections.items():
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name.ljust(width), self.commands[name].get_short_help_str(limit=200))
                        for name in names
                    ]
                )


class Defaulting(Commands):
    """What is no command is an argument of the one of that name."""

    def __init__(self, *arguments: Any, default: str, **options: Any) -> None:
        # The default's options may stand before its argument.
        settings = {"ignore_unknown_options": True}
        super().__init__(*arguments, context_settings=settings, **options)
        self._default = default

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(context, arguments[0]) is None:
            return self._default, self.commands[self._default], arguments
        return super().resolve_command(context, arguments)


class Nouns(Commands):
    """One command for each kind, also for those that only the server has."""

    def __init__(
        self, name: str, make: Callable[[Kind], click.Command], *, aliases: bool = True, **more: Any
    ) -> None:
        super().__init__(name, **more)
        self._make = make
        self.kinds = frozenset(kind.noun for kind in kinds.registered().values())
        """Those of its commands that are not of something else."""
        for kind in kinds.registered().values():
            self.add_command(make(kind))
            for alias in known.names(kind) if aliases else (kind.name, *kind.other_nouns):
                self.add_alias(alias, make(kind))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        theirs: Mapping[str, click.Command] = context.meta.get(_META, {})
        return super().get_command(context, name) or theirs.get(name)

    def list_commands(self, context: click.Context) -> list[str]:
        theirs = {command.name for command in context.meta.get(_META, {}).values()}
        return sorted({*super().list_commands(context), *theirs})

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = arguments[0]
        if self.get_command(context, name) is None and not name.startswith("-"):
            self._ask(context, arguments[1:])
        return super().resolve_command(context, arguments)

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        found = super().shell_complete(context, incomplete)
        shown = {item.value for item in found}
        more = [CompletionItem(noun) for noun in nouns(context, incomplete) if noun not in shown]
        return [*found, *more]

    def _ask(self, context: click.Context, arguments: Sequence[str]) -> None:
        """Learn the server's kinds, for this run. Raises `Failure` where it does not tell them."""
        try:
            theirs = known.of_server(target_among(context, arguments))
        except TrimtabError as error:
            ours = ", ".join(self.list_commands(context))
            raise Failure.of(
                error, f"it is no {self.what} of {ours}; and the server does not tell its kinds: "
            ) from error
        context.meta[_META] = {
            name: self._make(kind) for kind in theirs for name in (kind.noun, *known.names(kind))
        }
