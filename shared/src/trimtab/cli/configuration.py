"""The configuration file with defaults for flags: ``~/.config/trimtab/config.yaml``.

A flag takes precedence over its environment variable, that over this file, and that over the
embedded system of ``./.trimtab``.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import click
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from trimtab.errors import Invalid, Rejected

Output = Literal["table", "json", "yaml"]

VARIABLE = "TRIMTAB_CONFIG"
_META = "trimtab.configuration"


class Configuration(BaseModel):
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
    output: Output | None = None
    """Default of ``-o``."""

    def token(self, server: str) -> str:
        """Read the API token for a server; empty where the file is for another server or has none.

        Raises `Rejected` where the token file cannot be read.
        """
        if self.token_file is None or server.rstrip("/") != self.server.rstrip("/"):
            return ""
        try:
            return self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Rejected(f"token_file {self.token_file}: {_reason(error)}") from error


def load(path: Path) -> Configuration:
    """Read a configuration file.

    Raises `Rejected` where it cannot be read, and `Invalid` with the file and the key where its
    content is wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(f"the configuration {path} cannot be read: {_reason(error)}") from error
    except yaml.YAMLError as error:
        raise Rejected(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    try:
        configuration = Configuration.model_validate({} if content is None else content)
    except ValidationError as error:
        raise _invalid(path, error) from error
    if configuration.token_file is None:
        return configuration
    if not configuration.server:
        raise Invalid(f"{path}: server", "", "the URL of the server that token_file is for")
    token_file = path.parent / configuration.token_file.expanduser()
    return configuration.model_copy(update={"token_file": token_file})


def configured() -> Configuration:
    """Return the configuration of the running command, which is read once. Raises as `load`."""
    context = click.get_current_context().find_root()
    if _META not in context.meta:
        context.meta[_META] = _find(context.params.get("config"), os.environ)
    found: Configuration = context.meta[_META]
    return found


def _find(path: Path | None, environment: Mapping[str, str]) -> Configuration:
    if path is not None:
        return load(path)
    home = environment.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    default_path = Path(home) / "trimtab" / "config.yaml"
    return load(default_path) if default_path.exists() else Configuration()


def _invalid(path: Path, error: ValidationError) -> Invalid:
    first = error.errors(include_url=False)[0]
    keys = ", ".join(Configuration.model_fields)
    if not first["loc"]:
        return Invalid(str(path), first["input"], f"a mapping with {keys}")
    field = f"{path}: " + ".".join(map(str, first["loc"]))
    is_unknown = first["type"] == "extra_forbidden"
    return Invalid(field, first["input"], f"one of {keys}" if is_unknown else first["msg"])


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8"
