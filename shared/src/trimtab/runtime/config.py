"""The configuration of a service, read once at start.

The first of these that has a value wins: a variable of the environment, such as
``TRIMTAB_NATS_URL``; a file of the directory that ``TRIMTAB_SECRETS_DIR`` names, such as
``trimtab_nats_password``; the YAML file that ``TRIMTAB_SETTINGS_FILE`` names.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NestedSecretsSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from trimtab import names, yaml_texts
from trimtab.credentials import without_password
from trimtab.errors import Invalid, Rejected
from trimtab.models import first_error, unique_members, unknown_field
from trimtab.wrong_values import allowed_instead

FILE_VARIABLE = "TRIMTAB_SETTINGS_FILE"
SECRETS_VARIABLE = "TRIMTAB_SECRETS_DIR"

OWN_KEYS = {
    "admin": "anonymous_doors audit_days audit_rows blob_days blobs clusters database_url domains "
    "execution_event_days execution_log_days failed_tries_per_minute grpc_certificate grpc_key "
    "grpc_port history_days max_apply_bytes max_body_bytes max_bundle_bytes namespace_template "
    "pools queues records reuse_port token_file",
    "clusterres": "cluster_resources cluster_timeout_seconds clusters drift_check_seconds "
    "leader_lease_seconds "
    "namespace_template templates",
    "propeller": "blobs bundles_bytes data_dir executor heartbeat_seconds lease_seconds "
    "max_executions "
    "namespace_cluster namespace_template pods quality_default_tier quality_tiers stop_tasks "
    "task_closed_ports task_ports task_readable "
    "task_secrets_dir task_writable",
    "resmgr": "admin_url resourcemanager token_file",
}
"""The keys that a service adds to those of `ServiceConfig`.

One file may hold the configuration of all services: no other key of it is accepted."""


def _check_url(url: str) -> str:
    """Return the URL of a NATS server. Raises `ValueError` without a part of it."""
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        is_valid = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError("a URL such as nats://127.0.0.1:4222")
    return url


class _Variables(EnvSettingsSource):
    """The environment, in which lists, maps and blocks are JSON."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        if NoDecode in field.metadata:  # its own validator accepts a text
            return value
        return json.loads(value, object_pairs_hook=unique_members)


class _Secrets(_Variables, NestedSecretsSettingsSource):
    """The directory of secrets, whose files have the texts of variables."""


class ServiceConfig(BaseSettings):
    """The fields that every service has; each service derives its own class."""

    model_config = SettingsConfigDict(
        env_prefix="TRIMTAB_",
        env_nested_delimiter="__",
        frozen=True,
        # The file is checked by `_read_file`; variables of other services are none of ours.
        extra="ignore",
        use_attribute_docstrings=True,
    )

    nats_url: Annotated[str, AfterValidator(_check_url)] = "nats://127.0.0.1:4222"
    """The URL of a NATS server, which also reports the other servers of its cluster."""
    nats_user: str = ""
    """The user of NATS; empty connects without a user."""
    nats_password: SecretStr = SecretStr("")
    """The password of that user."""
    host: str = "127.0.0.1"
    """The address of the HTTP server: health, and admin's API. ``0.0.0.0`` is all addresses."""
    port: int = 0
    """The port of the HTTP server; 0 takes a free one, which the log names."""
    max_head_bytes: int = Field(default=64 * 1024, ge=1024)
    """The largest head of an HTTP request: its line and its headers."""
    request_seconds: float = Field(default=10.0, gt=0)
    """How long a client may take to send the head of a request, and each next part of its body."""
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
        sources = [init_settings, _Variables(settings_cls)]
        if secrets := os.environ.get(SECRETS_VARIABLE):
            sources.append(_Secrets(file_secret_settings, secrets))
        if path := os.environ.get(FILE_VARIABLE):
            sources.append(InitSettingsSource(settings_cls, _read_file(path)))
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
    except Rejected as error:
        sys.exit(str(error))
    except SettingsError as error:
        sys.exit(f"{error}; lists and maps are given as JSON")
    except ValidationError as error:
        first = first_error(error)
        name = ".".join(str(step) for step in first["loc"])
        expected = unknown_field(config, first) or allowed_instead(first)
        # The message of a validator may repeat the value.
        sys.exit(f"configuration {Invalid(name, first['input'], without_password(expected))}")


def _read_file(path: str) -> dict[str, Any]:
    """Return the content of the settings file. Raises `Rejected`, also for an unknown key."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(f"{path} cannot be read: {error}") from error
    content = yaml_texts.parse_one(path, text)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise Invalid(path, content, "a mapping with the keys of the configuration")
    known = [*ServiceConfig.model_fields, *" ".join(OWN_KEYS.values()).split()]
    for key in content:
        if key not in known:
            near = names.question(key, known)
            raise Rejected(f"{path}: there is no key {key!r}{near or f'; the keys are {known}'}")
    return content
