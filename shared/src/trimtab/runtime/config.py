"""The configuration of a service, read once at start.

The first of these that has a value wins: a variable of the environment, such as
``TRIMTAB_NATS_URL``; a file of the directory that ``TRIMTAB_SECRETS_DIR`` names, such as
``trimtab_nats_password``; the YAML file that ``TRIMTAB_SETTINGS_FILE`` names.
"""

import os
import sys
from pathlib import Path
from typing import Literal, TypeVar

import yaml
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

FILE_VARIABLE = "TRIMTAB_SETTINGS_FILE"
SECRETS_VARIABLE = "TRIMTAB_SECRETS_DIR"


class ServiceConfig(BaseSettings):
    """The fields that every service has; each service derives its own class."""

    model_config = SettingsConfigDict(
        env_prefix="TRIMTAB_",
        env_nested_delimiter="__",
        frozen=True,
        # One file may hold the configuration of all four services.
        extra="ignore",
        use_attribute_docstrings=True,
    )

    nats_url: str = "nats://127.0.0.1:4222"
    """The URL of a NATS server, which also reports the other servers of its cluster."""
    nats_user: str = ""
    """The user of NATS; empty connects without a user."""
    nats_password: SecretStr = SecretStr("")
    """The password of that user."""
    host: str = "127.0.0.1"
    """The address of the HTTP server: health, and admin's API. ``0.0.0.0`` is all addresses."""
    port: int = 0
    """The port of the HTTP server; 0 takes a free one, which the log names."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The lowest level that is logged."""
    stale_after_seconds: float = 30.0
    """A view that no watermark verified for so long is not ready. The default is six watermarks.
    admin has no view."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        sources = [init_settings, env_settings]
        if secrets := os.environ.get(SECRETS_VARIABLE):
            sources.append(NestedSecretsSettingsSource(file_secret_settings, secrets))
        if path := os.environ.get(FILE_VARIABLE):
            sources.append(YamlConfigSettingsSource(settings_cls, yaml_file=path))
        return tuple(sources)


C = TypeVar("C", bound=BaseModel)


def load(config: type[C]) -> C:
    """Read the configuration, or exit with a sentence that names the field, value and problem."""
    try:
        path = os.environ.get(FILE_VARIABLE)
        if path and not Path(path).is_file():
            sys.exit(f"{FILE_VARIABLE} names {path}, which is not a file")
        secrets = os.environ.get(SECRETS_VARIABLE)
        if secrets and not Path(secrets).is_dir():
            sys.exit(f"{SECRETS_VARIABLE} names {secrets}, which is not a directory")
        return config()
    except yaml.YAMLError as error:
        sys.exit(f"{os.environ[FILE_VARIABLE]} is not YAML: {' '.join(str(error).split())}")
    except SettingsError as error:
        sys.exit(f"{error}; lists and maps are given as JSON")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(step) for step in first["loc"])
        sys.exit(f"configuration {name}: {first['input']!r} is not valid: {first['msg']}")
