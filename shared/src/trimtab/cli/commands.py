"""The parts that commands are built from: errors with exit codes, and common options.

Errors of `trimtab.errors` end a command with the exit code of their `trimtab.errors.Code`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeVar

import click

from trimtab.cli.escaping import escape
from trimtab.cli.terminal import show_error
from trimtab.errors import Code, TrimtabError

F = TypeVar("F", bound=Callable[..., Any])


class Failure(click.ClickException):
    """An error that click prints as ``Error: …`` before the process ends with the exit code."""

    exit_code: int  # type: ignore[misc]  # click declares it for the class

    def __init__(self, message: str, code: Code = Code.INTERNAL) -> None:
        super().__init__(message)
        self.exit_code = code.exit_code

    def format_message(self) -> str:
        return escape(super().format_message())

    def show(self, file: IO[Any] | None = None) -> None:
        show_error(self.message)

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


def dry_run_option(command: F) -> F:
    """Add ``--dry-run``, and its spelling in flytectl; the command receives it as ``dry_run``."""
    return click.option(
        "--dry-run",
        "--dryRun",
        "dry_run",
        is_flag=True,
        help="Check everything, show what would happen, and change nothing.",
    )(command)


def limit_option(command: F) -> F:
    """Add ``--limit``, the length of a listing."""
    return click.option(
        "--limit",
        type=click.IntRange(1),
        default=100,
        show_default=True,
        help="Maximum number of rows.",
    )(command)
