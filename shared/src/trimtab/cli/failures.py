"""Errors as the command line tells them: one sentence, and an exit code by kind."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from trimtab.errors import Code, TrimtabError

USAGE = Code.INVALID.exit_code
NOT_FOUND = Code.NOT_FOUND.exit_code


class Failure(click.ClickException):
    """What click prints as ``Error: …`` before it ends the process with the code."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click means it to be set

    @classmethod
    def of(cls, error: TrimtabError, prefix: str = "") -> "Failure":
        return cls(prefix + str(error), error.code.exit_code)


@contextmanager
def prefixed(prefix: str) -> Iterator[None]:
    """Says before the error what was being done."""
    try:
        yield
    except TrimtabError as error:
        raise Failure.of(error, prefix) from error


def example(*lines: str) -> str:
    """What help ends with. Tests run these lines."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


class Commands(click.Group):
    """A group whose commands raise our errors; a wrong name is answered with the right ones."""

    def __init__(self, *arguments: Any, what: str = "command", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.what = what
        """What the commands of this group are, in an error."""
        self._aliases: dict[str, click.Command] = {}

    def add_alias(self, alias: str, command: click.Command) -> None:
        """Another name, which help and errors leave out."""
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
            raise click.UsageError(f"{self.what} {name!r} does not exist; there are: {known}")
        return super().resolve_command(context, arguments)
