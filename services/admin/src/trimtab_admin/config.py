"""The configuration of admin, read from the environment and the settings file at start."""

from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
from pydantic import AfterValidator, Field, JsonValue

from trimtab.api.entities import ClusterBody, PoolBody, QueueBody
from trimtab.blobs import port
from trimtab.blobs.locations import NATS, Location
from trimtab.models import DnsLabel
from trimtab.runtime.config import ServiceConfig
from trimtab.settings import namespaces

_DRIVERS = ("sqlite+aiosqlite", "postgresql+asyncpg")


def _check_database_url(url: str) -> str:
    """Return the URL of a database. Raises `ValueError` without a part of it."""
    try:
        is_valid = sa.make_url(url).drivername in _DRIVERS
    except (ValueError, sa.exc.ArgumentError):
        is_valid = False
    if not is_valid:
        raise ValueError("a URL that begins with " + " or ".join(f"{d}://" for d in _DRIVERS))
    return url


def _check_doors(doors: tuple[str, ...]) -> tuple[str, ...]:
    """Return the doors. Raises `ValueError` where one is named twice."""
    if len({door.partition(":")[0] for door in doors}) < len(doors):
        raise ValueError("each door once")
    return doors


Door = Annotated[str, Field(pattern="^(grpc|rest|connect)(:(viewer|editor|admin))?$")]
"""A door of Flyte's clients, and the role that it gives to calls without credentials."""


class AdminConfig(ServiceConfig):
    """The configuration of admin, in addition to that of every service."""

    database_url: Annotated[str, AfterValidator(_check_database_url)] = (
        "sqlite+aiosqlite:///trimtab.db"
    )
    """``sqlite+aiosqlite:///path``, or ``postgresql+asyncpg://user:password@host/name`` with the
    extra ``trimtab-admin[postgres]``. The schema is migrated at start."""
    token_file: Path | None = None
    """A file with the API token of an admin. Without it, admin listens on loopback only, and its
    API is open until the first API token is created."""
    domains: tuple[DnsLabel, ...] = Field(
        default=("development", "staging", "production"), min_length=1
    )
    """Domains that are created at start if they do not exist."""
    clusters: tuple[ClusterBody, ...] = ()
    """Clusters that are written at start when their declaration has changed since the last start.

    Until then, changes that the API has made stay. A cluster whose declaration was removed stays.
    """
    pools: tuple[PoolBody, ...] = ()
    """Pools that are written at start in the same way as clusters."""
    queues: tuple[QueueBody, ...] = ()
    """Queues that are written at start in the same way as clusters."""
    records: dict[str, dict[str, JsonValue]] = {}
    """Documents by kind: the layer below the platform, which the API cannot change.

    A record that was removed from it is deleted at start.
    """
    namespace_template: Annotated[str, AfterValidator(namespaces.check_template)] = (
        namespaces.DEFAULT
    )
    """The template of namespaces' names, which clusterres must have too.

    A project or domain is rejected where two would share a namespace.
    """
    history_days: int | None = Field(default=None, ge=1)
    """How long history is kept, and watches can resume; without it, indefinitely."""
    execution_log_days: int = Field(default=7, ge=1)
    """How long the stream keeps the log of an ended execution; its copy in the database stays. A
    stream that is three quarters full keeps none."""
    execution_event_days: int = Field(default=90, ge=1)
    """How long the database keeps the log of an ended execution. The execution, the state of its
    nodes and the values that it ran with stay."""
    max_apply_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    """The largest request that applies documents."""
    max_body_bytes: int = Field(default=512 * 1024, ge=1024, le=900 * 1024)
    """The largest other request, except for the registration of a workflow, which may have 1 MiB.
    NATS carries 1 MiB, and every stored change is published."""
    blobs: Location = NATS
    """Where bundles of code and large resolutions are stored, the same as that of propeller:
    ``nats``, or a directory that all admins and propellers share and can write, as a path that
    begins with ``/`` or ``./`` or as a ``file:`` URL."""
    max_bundle_bytes: int = Field(default=16 * 1024 * 1024, ge=1024, le=port.MAX_BYTES)
    """The largest bundle of code. admin holds so much of four at once in memory, and refuses more
    uploads meanwhile."""
    blob_days: int = Field(default=7, ge=1)
    """How long a bundle of code or a resolution stays that no registered workflow and no stored
    execution names."""
    failed_tries_per_minute: int = Field(default=30, ge=1)
    """Refused calls in a minute, of one client address or API token, after which its calls are
    throttled."""
    anonymous_doors: Annotated[tuple[Door, ...], AfterValidator(_check_doors)] = ()
    """Doors of Flyte's clients that accept calls without an API token: ``grpc``, ``rest`` or
    ``connect``. Such a caller is a viewer of the platform, or has the role that follows a colon, as
    in ``rest:editor``. Without it every call needs a token, as those of the API do."""
    grpc_port: int | None = Field(default=None, ge=0, le=65535)
    """The port of gRPC for Flyte's clients, on the address of the HTTP server; 0 takes a free one,
    which the log names. Without it, admin serves no gRPC. It needs the extra
    ``trimtab-admin[flyte]``."""
    grpc_certificate: Path | None = None
    """A file with the chain of certificates of the gRPC port, in PEM: the port then has TLS. It is
    read at the start."""
    grpc_key: Path | None = None
    """The file with the key of the certificate, in PEM and without a password."""
    reuse_port: bool = False
    """Whether other admins may listen on the same ports. The kernel then distributes connections
    over all of them, which must use one PostgreSQL."""
    audit_days: int = Field(default=90, ge=1)
    """How long entries of the audit trail are kept."""
    audit_rows: int = Field(default=100_000, ge=1)
    """The largest number of entries of the audit trail that are kept."""
