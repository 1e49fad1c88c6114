"""The parts that commands are built from: groups, errors with exit codes, and common options.

Errors of `trimtab.errors` end a command with the exit code of their `trimtab.errors.Code`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from trimtab.errors import Code, TrimtabError

F = TypeVar("F", bound=Callable[..., Any])


class Failure(click.ClickException):
    """An error that click prints as ``Error: …`` before the process ends with the exit code."""

    exit_code: int  # type: ignore[misc]  # click declares it for the class

    def __init__(self, message: str, code: Code = Code.INTERNAL) -> None:
        super().__init__(message)
        self.exit_code = code.exit_code

    @classmethod
    def of(cls, error: TrimtabError, prefix: str = "") -> "Failure":
        return cls(prefix + str(error), error.code)


@contextmanager
def error_prefix(prefix: str) -> Iterator[None]:
    """Put a prefix, which names the operation, before the message of an error."""
    try:
        yield
    except TrimtabError as error:
        raise Failure.of(error, prefix) from error


def example(*lines: str) -> str:
    """Return the text at the end of a command's help. Tests run these lines."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def reason_option(command: F) -> F:
    """Add ``--reason``."""
    return click.option("--reason", default="", help="Reason, stored in the history.")(command)


def limit_option(command: F) -> F:
    """Add ``--limit``, the length of a listing."""
    return click.option(
        "--limit",
        type=click.IntRange(1),
        default=100,
        show_default=True,
        help="Maximum number of rows.",
    )(command)


class CommandGroup(click.Group):
    """A group that turns our errors into exit codes, and lists its commands for a wrong name."""

    def __init__(self, *arguments: Any, member: str = "command", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.member = member
        """The word for a command of this group in an error message, such as ``object type``."""
        self._aliases: dict[str, click.Command] = {}

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
        if self.get_command(context, name) is None and not name.startswith("-"):
            known = ", ".join(self.list_commands(context))
            raise click.UsageError(f"{self.member} {name!r} does not exist; there are: {known}")
        return super().resolve_command(context, arguments)


class SectionedGroup(CommandGroup):
    """A group whose help lists the commands in titled sections."""

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
            return self._default, self.commands[self._default], arguments
        return super().resolve_command(context, arguments)
