"""``trimtab config``: the values that commands use, and the contexts of the configuration file."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from trimtab import yaml_texts
from trimtab.cli import configuration, yaml_edit
from trimtab.cli.commands import example
from trimtab.cli.configuration import (
    Defaults,
    Output,
    complete_contexts,
    configuration_options,
    configured,
)
from trimtab.cli.groups import CommandGroup
from trimtab.cli.scopes import domain_option, project_option
from trimtab.cli.server import given_token, selected_url, server_options
from trimtab.cli.tables import Table
from trimtab.cli.terminal import OUTPUTS, Columns, output_option, show, show_data, table_of, warn
from trimtab.client.addresses import without_credentials
from trimtab.embedded.directory import Directory, write_private
from trimtab.errors import Invalid, Rejected

config = CommandGroup("config", help="Show the configuration, and select or change its contexts.")

_CONTEXTS: Columns[Any] = {
    "CONTEXT": lambda row: row[0],
    "SERVER": lambda row: without_credentials(row[1].server),
    "TOKEN FILE": lambda row: row[1].token_file,
    "PROJECT": lambda row: row[1].project,
    "DOMAIN": lambda row: row[1].domain,
    "OUTPUT": lambda row: row[1].output,
}


class _Value(NamedTuple):
    """A value that commands use."""

    key: str
    value: object
    origin: str
    """The flag, variable, context or file that sets it."""


@config.command("view", epilog=example("trimtab config view"))
@project_option()
@domain_option()
@output_option()
@server_options
def view(data: Path, project: str, domain: str, output: Output, **_server: str | None) -> None:
    """Show the values that commands use, where each comes from, and all contexts.

    A token is never read or shown, only the file or variable that it is read from.
    """
    options = {"data": data, "project": project, "domain": domain, "output": output}
    values = list(_values(Directory(data), options))
    contexts = configuration.configuration().contexts
    if output != "table":
        shown_values = {
            each.key: {"value": str(each.value or ""), "from": each.origin} for each in values
        }
        shown = {name: _shown(defaults) for name, defaults in contexts.items()}
        show_data({"values": shown_values, "contexts": shown}, output)
        return
    show(Table(("KEY", "VALUE", "FROM"), values))
    if contexts:
        show("", table_of(list(contexts.items()), _CONTEXTS))


@config.command("use-context", epilog=example("trimtab config use-context staging"))
@click.argument("name", shell_complete=complete_contexts)
@configuration_options
def use_context(name: str) -> None:
    """Make the context NAME the one that is used without --context.

    The empty name selects none, so that only the keys at the top of the file are used.
    """
    path, text = _read()
    if name:
        configuration.parse(path, text).context(name)
    _write(path, text, ["current_context"], name)
    show(f"Using context {name}" if name else "Using no context")


@config.command(
    "set-context",
    epilog=example("trimtab config set-context staging --server https://staging.example.org"),
)
@click.argument("name", shell_complete=complete_contexts)
@click.option("--server", help="URL of the API.")
@click.option("--token-file", type=click.Path(), help="File with the API token for the server.")
@click.option("-p", "--project", help="Default project.")
@click.option("-d", "--domain", help="Default domain.")
@click.option("-o", "--output", type=OUTPUTS, help="Default output format.")
@configuration_options
def set_context(name: str, **options: str | None) -> None:
    """Create the context NAME, or change the given values of it; an empty value removes one.

    The configuration file is created where it is missing, and only its owner can read it.
    """
    if not name:
        raise Invalid("NAME", name, "a name that is not empty")
    path, text = _read()
    is_new = name not in configuration.parse(path, text).contexts
    stored = {} if is_new else yaml_texts.parse_one(str(path), text)["contexts"][name]
    if options["token_file"]:
        options["token_file"] = str(Path(options["token_file"]).absolute())
    given = {key: value for key, value in options.items() if value is not None}
    content = {key: value for key, value in {**(stored or {}), **given}.items() if value}
    _write(path, text, ["contexts", name], content)
    show(f"{'Created' if is_new else 'Changed'} context {name} in {path}")


def _read() -> tuple[Path, str]:
    """Return the path of the file to change, and its text; empty where it is missing.

    Raises `Rejected` for a device such as ``/dev/null``, which a file must not replace.
    """
    path, _ = configuration.configuration_path()
    if not path.exists():
        return path, ""
    if not path.is_file():
        raise Rejected(f"the configuration {path} cannot be changed: it is no regular file")
    return path, configuration.read(path)


def _write(path: Path, text: str, keys: Sequence[str], value: object) -> None:
    """Store the text with another value. Raises as `configuration.load`, and `Rejected`."""
    changed = yaml_edit.with_value(text, keys, value)
    configuration.parse(path, changed)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path.resolve(), changed)
    except OSError as error:
        raise Rejected(f"the configuration {path} cannot be written: {error.strerror}") from error
    if changed.count("#") < text.count("#"):
        warn(f"comments in the old value of {'.'.join(keys)} in {path} are lost")


def _values(directory: Directory, options: Mapping[str, object]) -> Iterator[_Value]:
    path, file_origin = configuration.configuration_path()
    yield _Value("config", path if path.exists() else f"{path} (missing)", file_origin)
    yield _Value("context", *configuration.selected_context())
    url, url_origin = selected_url(click.get_current_context())
    local = directory.url() or f"none runs on the data directory {directory.path}"
    yield _Value("server", without_credentials(url) if url else local, url_origin)
    yield _token(directory, url)
    for key, value in options.items():
        yield _Value(key, value, _origin(key))


def _origin(key: str) -> str:
    """Return the flag, variable, context or file that sets an option of the running command."""
    match click.get_current_context().get_parameter_source(key):
        case ParameterSource.COMMANDLINE:
            return f"--{key}"
        case ParameterSource.ENVIRONMENT:
            return f"TRIMTAB_{key.upper()}"
        case _:
            return "default" if key == "data" else configuration.origin(key)


def _token(directory: Directory, url: str | None) -> _Value:
    """Return where the token for the server at a URL is read from."""
    context = click.get_current_context()
    given, file = given_token(context), configured().token_file_of(url or "")
    if given and not (file and configuration.flagged_context()):
        return _Value("token", "set", given.source)
    if file is not None:
        shown = file if file.exists() else f"{file} (missing)"
        return _Value("token", shown, configuration.origin("token_file"))
    is_own = url in (None, directory.url()) and bool(directory.api_token())
    return _Value("token", directory.token_file if is_own else None, _origin("data"))


def _shown(defaults: Defaults) -> Mapping[str, object]:
    return defaults.model_dump(mode="json") | {"server": without_credentials(defaults.server)}
