"""The configuration file with defaults for flags: ``~/.config/trimtab/config.yaml``.

A flag takes precedence over its environment variable, that over this file, and that over the
embedded system of ``./.trimtab``. In the file, the selected context takes precedence.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
from pydantic import BaseModel, ConfigDict, ValidationError

from trimtab import yaml_texts
from trimtab.errors import Invalid, NotFound, Rejected, TrimtabError
from trimtab.models import first_error, unknown_field
from trimtab.wrong_values import allowed_instead

C = TypeVar("C", bound=Callable[..., Any] | click.Command)
Output = Literal["table", "json", "yaml"]
OutputName = Literal["table", "wide", "json", "yaml"]

VARIABLE = "TRIMTAB_CONFIG"
CONTEXT_VARIABLE = "TRIMTAB_CONTEXT"
DEFAULT_ORIGIN = "default"
_FILES = "trimtab.configuration.files"
_PATH = "trimtab.configuration.path"
_CONTEXT = "trimtab.configuration.context"


class Defaults(BaseModel):
    """Defaults of flags."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    server: str = ""
    """URL of the API."""
    token_file: Path | None = None
    """File with the API token for ``server``. It is never sent to another server."""
    project: str = ""
    """Default of ``-p``."""
    domain: str = ""
    """Default of ``-d``."""
    output: OutputName | None = None
    """Default of ``-o``."""

    def token_file_of(self, server: str) -> Path | None:
        """Return the file with the token for a server; ``None`` where it is for another one."""
        return self.token_file if server.rstrip("/") == self.server.rstrip("/") else None

    def token(self, server: str) -> str:
        """Read the API token for a server; empty where the file is for another server or has none.

        Raises `Rejected` where the token file cannot be read.
        """
        if (file := self.token_file_of(server)) is None:
            return ""
        try:
            return file.read_bytes().decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Rejected(f"token_file {file}: {_reason(error)}") from error


class Configuration(Defaults):
    """A configuration file: its own defaults, and those of each context."""

    current_context: str = ""
    """The context that is used without ``--context``; empty uses the defaults of the file."""
    contexts: Mapping[str, Defaults] = {}

    def selected(self, name: str) -> Defaults:
        """Return the defaults of a context, and those of the file where the context has none.

        The token file of the file is for the server of the file only. Raises `NotFound`.
        """
        own = Defaults(**{key: getattr(self, key) for key in Defaults.model_fields})
        if not name:
            return own
        context = self.context(name)
        given = {key: getattr(context, key) for key in Defaults.model_fields}
        defaults = own.model_copy(update={key: value for key, value in given.items() if value})
        if context.server and context.token_file is None:
            return defaults.model_copy(update={"token_file": None})
        return defaults

    def context(self, name: str) -> Defaults:
        """Return a context. Raises `NotFound`, which suggests similar names."""
        if name not in self.contexts:
            raise NotFound.among("context", name, self.contexts)
        return self.contexts[name]


def configuration_options(command: C) -> C:
    """Add ``--config`` and ``--context``, which `configured` reads from any group or command."""
    for option in (
        click.option(
            "--context",
            metavar="NAME",
            expose_value=False,
            is_eager=True,
            hidden=True,
            callback=_remember(_CONTEXT),
            shell_complete=complete_contexts,
            help="Context of the configuration file, with defaults of flags; default: its "
            f"current_context.  [env: {CONTEXT_VARIABLE}]",
        ),
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            expose_value=False,
            is_eager=True,
            hidden=True,
            callback=_remember(_PATH),
            help="Configuration file with defaults of flags; "
            f"default: ~/.config/trimtab/config.yaml.  [env: {VARIABLE}]",
        ),
    ):
        command = option(command)
    return command


def configured(context: click.Context | None = None) -> Defaults:
    """Return the defaults of the running command, from a file that is read once.

    Raises `Invalid`, `NotFound` or `Rejected`, except while a shell completes a command.
    """
    running = context or click.get_current_context()
    try:
        name, _ = selected_context(running)
        return configuration(running).selected(name)
    except TrimtabError:
        if running.resilient_parsing:
            return Defaults()
        raise


def selected_context(context: click.Context | None = None) -> tuple[str, str]:
    """Return the name of the context, empty where none is selected, and its origin.

    Raises as `load`.
    """
    if flag := flagged_context(context):
        return flag, "--context"
    if variable := os.environ.get(CONTEXT_VARIABLE, ""):
        return variable, CONTEXT_VARIABLE
    name = configuration(context).current_context
    return name, "current_context" if name else DEFAULT_ORIGIN


def origin(key: str, context: click.Context | None = None) -> str:
    """Return which part of the configuration sets a default of the running command."""
    name, _ = selected_context(context)
    if name and getattr(configuration(context).context(name), key):
        return f"context {name}"
    return "configuration file" if getattr(configured(context), key) else DEFAULT_ORIGIN


def flagged_context(context: click.Context | None = None) -> str:
    """Return the name that ``--context`` gives; empty without the flag."""
    name: str = (context or click.get_current_context()).meta.get(_CONTEXT, "")
    return name


def configuration(context: click.Context | None = None) -> Configuration:
    """Return the file of the running command; empty where there is none. Raises as `load`."""
    path, path_origin = configuration_path(context)
    files = (context or click.get_current_context()).meta.setdefault(_FILES, {})
    if path not in files:
        is_named = path_origin != DEFAULT_ORIGIN
        files[path] = load(path) if is_named or path.exists() else Configuration()
    found: Configuration = files[path]
    return found


def configuration_path(context: click.Context | None = None) -> tuple[Path, str]:
    """Return the path of the file, and its origin: the flag, the variable, or the default."""
    flag = (context or click.get_current_context()).meta.get(_PATH)
    if flag is not None:
        return flag, "--config"
    if variable := os.environ.get(VARIABLE):
        return Path(variable), VARIABLE
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "trimtab" / "config.yaml", DEFAULT_ORIGIN


def complete_contexts(
    context: click.Context, _parameter: click.Parameter, prefix: str
) -> Sequence[str]:
    """Complete the name of a context."""
    try:
        names = configuration(context).contexts
    except TrimtabError:
        return ()
    return [name for name in names if name.startswith(prefix)]


def load(path: Path) -> Configuration:
    """Read a configuration file. Raises as `read` and `parse`."""
    return parse(path, read(path))


def read(path: Path) -> str:
    """Return the text of a configuration file. Raises `Rejected` where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(f"the configuration {path} cannot be read: {_reason(error)}") from error


def parse(path: Path, text: str) -> Configuration:
    """Parse the text of a configuration file.

    Raises `Rejected` where it is not YAML, and `Invalid` with the file and the key where its
    content is wrong.
    """
    content = yaml_texts.parse_one(str(path), text)
    try:
        found = Configuration.model_validate({} if content is None else content)
    except ValidationError as error:
        raise _invalid(path, error) from error
    contexts = {
        name: _with_token_path(f"{path}: contexts.{name}.", path, context, found.server)
        for name, context in found.contexts.items()
    }
    found = _with_token_path(f"{path}: ", path, found)
    return found.model_copy(update={"contexts": contexts})


D = TypeVar("D", bound=Defaults)


def _with_token_path(prefix: str, path: Path, defaults: D, server: str = "") -> D:
    """Resolve the path of the token file. Raises `Invalid` where it is for no server."""
    if defaults.token_file is None:
        return defaults
    if not defaults.server and not server:
        raise Invalid(f"{prefix}server", "", "the URL of the server that token_file is for")
    token_file = path.parent / defaults.token_file.expanduser()
    return defaults.model_copy(update={"token_file": token_file})


def _remember(key: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Return a callback that stores the value of an option; the innermost command is last."""

    def remember(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            context.meta[key] = value

    return remember


def _invalid(path: Path, error: ValidationError) -> Invalid:
    first = first_error(error)
    if not first["loc"]:
        keys = ", ".join(Configuration.model_fields)
        return Invalid(str(path), first["input"], f"a mapping with {keys}")
    name = ".".join(map(str, first["loc"]))
    expected = unknown_field(Configuration, first) or allowed_instead(first)
    return Invalid(f"{path}: {name}", first["input"], expected)


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8"
