"""Settings of resmgr: the ``resourcemanager`` block in Flyte's words, and where admin answers."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic.alias_generators import to_camel

from trimtab.runtime.config import ServiceConfig

REDIS_PORT = 6379


class _Block(BaseModel):
    """Keys are written ``likeThis``; unknown ones are errors."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )


class Redis(_Block):
    """Where the leases are kept."""

    host_paths: tuple[str, ...] = ()
    """``host:port``, ``host`` with Redis's own port, or the path of a unix socket; several are
    seeds of a Redis Cluster."""
    host_key: SecretStr = SecretStr("")
    """The password; empty is none."""
    max_retries: int = Field(default=0, ge=0, le=10)
    """Of one call, after its first failure. Each may take as long as the time limit of a call."""

    @field_validator("host_paths")
    @classmethod
    def _addresses(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            address(path)
        if len(paths) > 1 and any(path.startswith("/") for path in paths):
            raise ValueError("a Redis Cluster is not reached over a unix socket")
        return paths


class ResourceManager(_Block):
    """What grants tokens."""

    type: Literal["noop", "redis"] = "noop"
    """``noop`` grants always and keeps nothing."""
    resource_max_quota: int = Field(default=1000, ge=1)
    """No pool may have a larger quota. Of each pool, not of all together; ignored by ``noop``."""
    max_lease_seconds: float = Field(default=60.0, gt=0, le=86_400)
    """No lease is longer. Also how long, with the grace, nothing is granted after Redis has lost
    its memory, so that whoever holds something can say so: a minute is a bearable pause, and
    renewing three times in it costs next to nothing."""
    grace_seconds: float = Field(default=2.0, ge=0, le=3600)
    """Units stay held for so long after a lease has ended: for a renewal that is on its way, and
    for a holder that is slow to stop."""
    place_seconds: float = Field(default=10.0, gt=0, le=3600)
    """Whoever waits loses its place, or what it was granted meanwhile, unless it asks again in
    this time. Units of one that has died while it waited are idle for so long."""
    poll_seconds: float = Field(default=45.0, gt=0, le=3600)
    """The same for one that polls, before its pace is known: Flyte's charts have it poll every 30
    seconds."""
    reserve_seconds: float = Field(default=30.0, ge=0, le=86_400)
    """Once the first in line waits for so long, units that come back are kept for it until they
    are enough."""
    redis: Redis = Redis()


class ResmgrConfig(ServiceConfig):
    """Everything that resmgr can be told."""

    resourcemanager: ResourceManager = ResourceManager()
    admin_url: str = "http://127.0.0.1:8080"
    """Where pools are created that a service registers."""
    token_file: Path | None = None
    """Holds the bearer token that admin asks for."""


def address(path: str) -> tuple[str, int]:
    """Host and port of one of ``hostPaths``. A unix socket has its path and the port 0."""
    if path.startswith("/"):
        return path, 0
    if path and ":" not in path:
        return path, REDIS_PORT
    host, _, port = path.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f"{path!r} is neither host:port nor the path of a unix socket")
    return host.removeprefix("[").removesuffix("]"), int(port)
