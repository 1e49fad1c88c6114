"""The configuration of resmgr: the ``resourcemanager`` block in Flyte's words, and admin's address.

``placeSeconds``, ``pollSeconds`` and ``reserveSeconds`` are keys that users have set. Elsewhere
Trimtab calls a place in the queue a position.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic.alias_generators import to_camel

from trimtab.models import MAX_UNITS
from trimtab.runtime.config import ServiceConfig

REDIS_PORT = 6379


class _Block(BaseModel):
    """The base of blocks. Keys are in camel case; an unknown key is an error."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )


class Redis(_Block):
    """The server that stores leases and waiters."""

    host_paths: tuple[str, ...] = ()
    """``host:port``, ``host`` with Redis's own port, or the path of a unix socket; several are
    seeds of a Redis Cluster. ``type: redis`` needs at least one."""
    host_key: SecretStr = SecretStr("")
    """The password; empty is none."""
    max_retries: int = Field(default=0, ge=0, le=10)
    """Retries of a failed call. Each try has a timeout of a second."""

    @field_validator("host_paths")
    @classmethod
    def _check_addresses(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            parse_address(path)
        if len(paths) > 1 and any(path.startswith("/") for path in paths):
            raise ValueError("a Redis Cluster is not reached over a unix socket")
        return paths


class ResourceManager(_Block):
    """The type and the rules of the resource manager."""

    type: Literal["noop", "redis"] = "noop"
    """``noop`` grants every request and stores nothing."""
    resource_max_quota: int = Field(default=1000, ge=1, le=MAX_UNITS)
    """The largest quota of each single pool. A larger one is cut to it and reported, and its
    registration is refused. ``noop`` ignores it."""
    max_lease_seconds: float = Field(default=60.0, gt=0, le=86_400)
    """The longest lease. After Redis has lost its data, the quarantine lasts this time plus the
    grace, so that holders can reassert their tokens. A minute is a bearable pause, and three
    renewals in it cost next to nothing."""
    grace_seconds: float = Field(default=2.0, ge=0, le=3600)
    """How long units stay held after a lease has ended: for a renewal in transit, and for a holder
    that stops slowly."""
    place_seconds: float = Field(default=10.0, gt=0, le=3600)
    """How long a waiter keeps its position, or its grant, without repeating its request. Units of a
    waiter that died are idle for so long."""
    poll_seconds: float = Field(default=45.0, gt=0, le=3600)
    """The same for a plugin that polls, until its pace is known: Flyte's charts have it poll every
    30 seconds."""
    reserve_seconds: float = Field(default=30.0, ge=0, le=86_400)
    """How long the first in the queue waits before released units are reserved for it until they
    are enough."""
    request_seconds: float = Field(default=3.0, gt=0, le=3600)
    """How old an allocation may be when it is processed. A replica that was suspended rejects older
    ones with 503: their callers have repeated them, and may have released the tokens."""
    redis: Redis = Redis()
    """The Redis or Valkey that stores leases and waiters."""


class ResmgrConfig(ServiceConfig):
    """The configuration of resmgr, in addition to that of every service."""

    resourcemanager: ResourceManager = ResourceManager()
    """The block of Flyte's documentation, and times of Trimtab's own. All replicas should have the
    same."""
    admin_url: str = "http://127.0.0.1:8080"
    """The API of admin, which creates the pools that services register."""
    token_file: Path | None = None
    """A file with the API token for admin; not needed where admin's API is open."""


def parse_address(path: str) -> tuple[str, int]:
    """Return host and port of one of ``hostPaths``; of a unix socket, its path and port 0."""
    if path.startswith("/"):
        return path, 0
    if path and ":" not in path:
        return path, REDIS_PORT
    host, _, port = path.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f"{path!r} is neither host:port nor the path of a unix socket")
    return host.removeprefix("[").removesuffix("]"), int(port)
