"""What admin is told at start, by the environment and the settings file."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue

from trimtab.api.places import ClusterBody, PoolBody
from trimtab.models import DnsLabel
from trimtab.runtime.config import ServiceConfig
from trimtab.settings import namespaces


class AdminConfig(ServiceConfig):
    """Beside what every service is told."""

    database_url: str = "sqlite+aiosqlite:///trimtab.db"
    """A SQLAlchemy URL with an async driver."""
    token_file: Path | None = None
    """Holds the token that every call must bring; ``None`` leaves the API open to its network."""
    domains: tuple[DnsLabel, ...] = Field(
        default=("development", "staging", "production"), min_length=1
    )
    """Made at start where they are missing."""
    clusters: tuple[ClusterBody, ...] = ()
    """Declared at start; what the API changed since stays until the declaration changes."""
    pools: tuple[PoolBody, ...] = ()
    """As clusters."""
    records: dict[str, dict[str, JsonValue]] = {}
    """By kind: the read-only layer below platform."""
    namespace_template: Annotated[str, AfterValidator(namespaces.check_template)] = (
        namespaces.DEFAULT
    )
    """As clusterres has it: a project or domain is refused where two would share a namespace."""
    history_days: int | None = Field(default=None, ge=1)
    """How long history is kept, and watches can resume; ``None`` is for ever."""
    execution_log_days: int = Field(default=7, ge=1)
    """How long the stream keeps the log of an execution that has ended; the copy stays."""
    max_apply_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    """Of what is applied at once."""
    max_body_bytes: int = Field(default=512 * 1024, ge=1024, le=900 * 1024)
    """Of a request. NATS carries 1 MiB, and everything that is stored must also be told."""
    failed_tries_per_minute: int = Field(default=30, ge=1)
    """Calls that may be refused, per client address and per token, before some have to wait."""
    audit_days: int = Field(default=90, ge=1)
    """How long calls that were refused are kept."""
    audit_rows: int = Field(default=100_000, ge=1)
    """How many of them are kept at most."""
