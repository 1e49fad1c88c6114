"""The file of what is told once and not with each command: ``~/.config/trimtab/config.yaml``.

A flag comes before the environment, that before this file, that before the embedded directory.
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
    """Holds the token of that server, and of no other."""
    project: str = ""
    """Where no ``-p`` is given."""
    domain: str = ""
    """Where no ``-d`` is given."""
    output: Output | None = None
    """Where no ``-o`` is given."""

    def token(self, server: str) -> str:
        """What the server wants to hear; empty where the file does not say it.

        Raises `Rejected` where the token's file cannot be read.
        """
        if self.token_file is None or server.rstrip("/") != self.server.rstrip("/"):
            return ""
        try:
            return self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Rejected(f"token_file {self.token_file}: {_reason(error)}") from error


def load(path: Path) -> Configuration:
    """Raises `Rejected` where the file cannot be read, and `Invalid`, naming file and key."""
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
    """That of the command that runs, read once. Raises as `load`."""
    context = click.get_current_context().find_root()
    if _META not in context.meta:
        context.meta[_META] = _found(context.params.get("config"), os.environ)
    found: Configuration = context.meta[_META]
    return found


def _found(named: Path | None, environment: Mapping[str, str]) -> Configuration:
    if named is not None:
        return load(named)
    home = environment.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    usual = Path(home) / "trimtab" / "config.yaml"
    return load(usual) if usual.exists() else Configuration()


def _invalid(path: Path, error: ValidationError) -> Invalid:
    first = error.errors(include_url=False)[0]
    known = ", ".join(Configuration.model_fields)
    if not first["loc"]:
        return Invalid(str(path), first["input"], f"a mapping with {known}")
    where = f"{path}: " + ".".join(map(str, first["loc"]))
    unknown = first["type"] == "extra_forbidden"
    return Invalid(where, first["input"], f"one of {known}" if unknown else first["msg"])


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8"
