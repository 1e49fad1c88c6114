"""Groups of commands. Each accepts the global flags and passes them on to its command.

A flag can thus be given before or after any word of a command; the last value wins.
"""

from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from trimtab.cli.commands import Failure
from trimtab.cli.completion import complete_names
from trimtab.cli.configuration import configuration_options
from trimtab.cli.terminal import OUTPUTS
from trimtab.errors import TrimtabError


class CommandGroup(click.Group):
    """A group that turns our errors into exit codes, and lists its commands for a wrong name."""

    def __init__(self, *arguments: Any, member: str = "command", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.member = member
        """The word for a command of this group in an error message, such as ``object type``."""
        self._aliases: dict[str, click.Command] = {}
        configuration_options(self)
        self._flags = _passed_flags()
        self.params += self._flags

    def add_alias(self, alias: str, command: click.Command) -> None:
        """Add another name, which help and error messages omit."""
        self._aliases[alias] = command

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return super().get_command(context, name) or self._aliases.get(name)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except TrimtabError as error:
            raise Failure.of(error) from error

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = arguments[0]
        if self.get_command(context, name) is None and context.resilient_parsing:
            return None, None, arguments
        if self.get_command(context, name) is None and not name.startswith("-"):
            known = ", ".join(self.list_commands(context))
            raise click.UsageError(f"{self.member} {name!r} does not exist; there are: {known}")
        found, command, rest = super().resolve_command(context, arguments)
        return found, command, [*self.given_flags(context, command), *rest]

    def given_flags(self, context: click.Context, command: click.Command | None) -> list[str]:
        """Return the flags that this group was given, as arguments of its command.

        Raises `click.UsageError` where the command does not have the flag.
        """
        given = [
            flag
            for flag in self._flags
            if context.get_parameter_source(str(flag.name)) is ParameterSource.COMMANDLINE
        ]
        known = {parameter.name for parameter in command.params} if command else set()
        for flag in given:
            if command is not None and flag.name not in known and not context.resilient_parsing:
                words = f"{context.command_path} {command.name}"
                raise click.UsageError(f"`{words}` has no {'/'.join(flag.opts)}")
        return [f"{flag.opts[-1]}={context.params[str(flag.name)]}" for flag in given]

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their whole summaries, which click would cut."""
        commands = {name: self.get_command(context, name) for name in self.list_commands(context)}
        rows = [(name, summary(command)) for name, command in commands.items() if command]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


class SectionedGroup(CommandGroup):
    """The group of all commands: its help has the global flags, and titled sections."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sections: dict[str, Sequence[str]] = {}
        """Names of commands by title."""
        for parameter in self.params:
            if isinstance(parameter, click.Option):
                parameter.hidden = not parameter.help

    def add_section(self, title: str, *commands: click.Command) -> None:
        for command in commands:
            self.add_command(command)
        self.sections[title] = [str(command.name) for command in commands]

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.commands))
        for title, names in self.sections.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(width), summary(self.commands[name])) for name in names]
                )


class DefaultCommandGroup(CommandGroup):
    """A group that passes a first word which is no command to its default command."""

    def __init__(self, *arguments: Any, default: str, **options: Any) -> None:
        # Options of the default command may precede its argument.
        settings = {"ignore_unknown_options": True}
        super().__init__(*arguments, context_settings=settings, **options)
        self._default = default

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(context, arguments[0]) is None:
            command = self.commands[self._default]
            return self._default, command, [*self.given_flags(context, command), *arguments]
        return super().resolve_command(context, arguments)

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names of commands, and the first argument of the default command."""
        items = super().shell_complete(context, incomplete)
        command = self.commands[self._default]
        flags = self.given_flags(context, command)
        inner = command.make_context(self._default, flags, context, resilient_parsing=True)
        arguments = [each for each in command.params if isinstance(each, click.Argument)]
        return [*items, *arguments[0].shell_complete(inner, incomplete)]


def summary(command: click.Command) -> str:
    """Return the first sentence of a command's help."""
    return command.get_short_help_str(limit=10_000)


def _passed_flags() -> list[click.Option]:
    """Return the flags that a group passes on. Defaults are left to the command."""

    def flag(long: str, *names: str, help: str = "", **options: Any) -> click.Option:
        variable = f"TRIMTAB_{long[2:].upper()}"
        help = help and f"{help}  [env: {variable}]"
        return click.Option([*names, long], envvar=variable, hidden=True, help=help, **options)

    projects, domains = complete_names("projects"), complete_names("domains")
    return [
        flag("--server", help="URL of the API."),
        flag("--token", "api_token"),
        flag("--data", type=click.Path(), help="Data directory of the embedded system."),
        flag("--project", "-p", shell_complete=projects, help="The project."),
        flag("--domain", "-d", shell_complete=domains, help="The domain."),
        flag("--output", "-o", type=OUTPUTS, help="Output format."),
    ]
