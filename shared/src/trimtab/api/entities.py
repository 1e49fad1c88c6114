"""Entities: projects, domains, clusters and pools. Pure."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from trimtab.labels import Labels
from trimtab.models import MAX_INTEGER, MAX_UNITS, DnsLabel, Integer, Model, Number, Switch
from trimtab.texts import MULTILINE

PoolName = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=200, pattern=r"^(\*|[A-Za-z0-9_][A-Za-z0-9_.:\-]*)$"
    ),
]
"""``*`` stands for pools that are not declared; a colon separates a plugin from its pool."""

Version = Annotated[Integer, Field(ge=0, le=MAX_INTEGER)]


class ProjectBody(Model):
    name: DnsLabel
    description: Annotated[str, MULTILINE] = Field(default="", max_length=300)
    labels: Labels = {}
    state: Literal["active", "archived"] = "active"
    version: Version | None = None
    """Returned by admin; ignored in a request."""


class DomainBody(Model):
    name: DnsLabel
    version: Version | None = None


class ClusterBody(Model):
    name: DnsLabel
    """The name of the cluster."""
    labels: tuple[str, ...] = ()
    """Labels by which ``execution_cluster_label`` selects the cluster."""
    weight: Number = Field(default=1.0, ge=0, allow_inf_nan=False)
    """The share of executions among the clusters that fit; 0 gets none."""
    enabled: Switch = True
    """Whether namespaces are made on it, and executions are assigned to it."""
    version: Version | None = None
    """Returned by admin; ignored in a request."""


class PoolBody(Model):
    name: PoolName
    """The name of the pool; ``*`` stands for pools that are not declared."""
    quota: Integer = Field(ge=1, le=MAX_UNITS)
    """The units that may be held at the same time."""
    project_cap: Integer | None = Field(default=None, ge=0, le=MAX_UNITS)
    """The units that each project may hold at most."""
    project_domain_cap: Integer | None = Field(default=None, ge=0, le=MAX_UNITS)
    """The units that each project may hold at most in one domain."""
    cohort: DnsLabel = "default"
    """A token can be of several pools of one cohort."""
    active: Switch = True
    """Whether tokens are granted. Held tokens stay held."""
    max_weight: Integer | None = Field(default=None, ge=1, le=MAX_UNITS)
    """The units that one token may take at most."""
    version: Version | None = None
    """Returned by admin; ignored in a request."""


class PoolTokenBody(Model):
    """Names a pool's token, in addition to its id in the path."""

    pools: tuple[PoolName, ...] = Field(default=(), max_length=16)
    """All pools of the token, where it is of several."""


class PoolPriorityBody(PoolTokenBody):
    """A new priority for a waiter."""

    priority: Integer = Field(ge=-1000, le=1000)
