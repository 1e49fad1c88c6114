"""Entities: projects, domains, clusters and pools. Pure."""

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
"""``*`` stands for pools that are not declared; a colon separates a plugin from its pool."""


class ProjectBody(Model):
    name: DnsLabel
    description: str = Field(default="", max_length=300)
    labels: Labels = {}
    state: Literal["active", "archived"] = "active"
    version: int | None = None
    """Returned by admin; ignored in a request."""


class DomainBody(Model):
    name: DnsLabel
    version: int | None = None


class ClusterBody(Model):
    name: DnsLabel
    """The name of the cluster."""
    labels: tuple[str, ...] = ()
    """Labels by which ``execution_cluster_label`` selects the cluster."""
    weight: float = Field(default=1.0, ge=0)
    """The share of executions among the clusters that fit; 0 gets none."""
    enabled: bool = True
    """Whether namespaces are made on it, and executions are assigned to it."""
    version: int | None = None
    """Returned by admin; ignored in a request."""


class PoolBody(Model):
    name: PoolName
    """The name of the pool; ``*`` stands for pools that are not declared."""
    quota: int = Field(ge=1)
    """The units that may be held at the same time."""
    project_cap: int | None = Field(default=None, ge=0)
    """The units that each project may hold at most."""
    project_domain_cap: int | None = Field(default=None, ge=0)
    """The units that each project may hold at most in one domain."""
    cohort: DnsLabel = "default"
    """A token can be of several pools of one cohort."""
    active: bool = True
    """Whether tokens are granted. Held tokens stay held."""
    max_weight: int | None = Field(default=None, ge=1)
    """The units that one token may take at most."""
    version: int | None = None
    """Returned by admin; ignored in a request."""


class PoolTokenBody(Model):
    """Names a pool's token, in addition to its id in the path."""

    pools: tuple[PoolName, ...] = Field(default=(), max_length=16)
    """All pools of the token, where it is of several."""


class PoolPriorityBody(PoolTokenBody):
    """A new priority for a waiter."""

    priority: int = Field(ge=-1000, le=1000)
