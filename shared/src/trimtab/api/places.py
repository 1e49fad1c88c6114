"""Projects, domains, clusters and pools. Pure."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from trimtab.labels import Labels
from trimtab.models import DnsLabel, Model

PoolName = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=200, pattern=r"^(\*|[A-Za-z0-9_][A-Za-z0-9_.:\-]*)$"
    ),
]
"""``*`` is what holds of pools that nobody has declared; a colon parts a plugin from its pool."""


class ProjectBody(Model):
    name: DnsLabel
    description: str = Field(default="", max_length=300)
    labels: Labels = {}
    state: Literal["active", "archived"] = "active"
    version: int | None = None
    """Answered, ignored when sent."""


class DomainBody(Model):
    name: DnsLabel
    version: int | None = None


class ClusterBody(Model):
    name: DnsLabel
    labels: tuple[str, ...] = ()
    weight: float = Field(default=1.0, ge=0)
    enabled: bool = True
    version: int | None = None


class PoolBody(Model):
    name: PoolName
    quota: int = Field(ge=1)
    project_cap: int | None = Field(default=None, ge=0)
    project_domain_cap: int | None = Field(default=None, ge=0)
    cohort: DnsLabel = "default"
    """Pools of one cohort can be taken together."""
    active: bool = True
    """Whether anything is granted; what is held stays held."""
    max_weight: int | None = Field(default=None, ge=1)
    """Units that one token may be of."""
    version: int | None = None


class PoolTokenBody(Model):
    """Beside the id of a token."""

    pools: tuple[PoolName, ...] = Field(default=(), max_length=16)
    """All that it is of, where it is of several."""


class PoolPriorityBody(PoolTokenBody):
    """Of one that waits."""

    priority: int = Field(ge=-1000, le=1000)
