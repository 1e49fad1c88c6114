"""The protocol of resmgr: requests and answers on ``trimtab.resmgr.<operation>.<cohort>``. Pure.

Operations: ``register``, ``allocate``, ``release``, ``inspect``. Bodies are JSON; a refusal that is
an error has the headers ``Nats-Service-Error`` and ``Nats-Service-Error-Code`` of NATS micro.
"""

from typing import Literal

from pydantic import Field

from trimtab.graph import Model

COHORT = "default"
"""The cohort of every pool that names no other."""


class Register(Model):
    """A service needs this pool. The same quota again is fine, another one is an error."""

    pool: str = Field(min_length=1, max_length=200)
    quota: int = Field(ge=1)


class Registered(Model):
    pool: str
    quota: int


class Allocate(Model):
    """Ask for a token. Asking again for one that is held grants it again and renews its lease."""

    pool: str
    token: str = Field(min_length=1, max_length=500)
    """Opaque; unique to one attempt of one node."""
    project: str
    domain: str
    weight: int = Field(default=1, ge=1)
    """Units."""
    project_cap: int | None = None
    """Beside the pool's own caps; absent is no cap, 0 or less is none allowed."""
    project_domain_cap: int | None = None
    lease_seconds: float = Field(default=60.0, gt=0, le=86_400)
    """How long the token is held unless it is asked for again."""


class Allocated(Model):
    """The answer to `Allocate`."""

    status: Literal["granted", "exhausted", "never_fits"]
    reason: str = ""
    """Which limit refused, with its numbers."""
    held: int = 0
    """Units of the pool held after the request."""
    lease_seconds: float | None = None
    """``None`` where nothing expires (noop), or nothing was granted."""


class Release(Model):
    """Give a token back. Releasing what is not held succeeds."""

    pool: str
    token: str


class Released(Model):
    released: bool
    """Whether the token was held."""


class Inspect(Model):
    pool: str


class Holder(Model):
    token: str
    project: str
    domain: str
    weight: int
    expires_in_seconds: float


class Inspected(Model):
    """A pool as it is now."""

    pool: str
    type: Literal["redis", "noop"]
    quota: int
    held: int
    by_project: dict[str, int]
    """Units by project."""
    by_project_domain: dict[str, int]
    """Units by ``project/domain``."""
    holders: tuple[Holder, ...]
    """Of very many the first 1000 by the end of their lease; the sums are of all."""
