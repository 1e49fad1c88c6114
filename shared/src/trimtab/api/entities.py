"""Entities: projects, domains, clusters, pools and queues. Pure."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from trimtab.labels import Labels, Text
from trimtab.models import MAX_INTEGER, MAX_UNITS, DnsLabel, Integer, Model, Number, Switch
from trimtab.texts import MULTILINE

PoolName = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=200, pattern=r"^(\*|[A-Za-z0-9_][A-Za-z0-9_.:\-]*)$"
    ),
]
"""``*`` stands for pools that are not declared; a colon separates a plugin from its pool."""


def _check_distinct(items: tuple[str, ...]) -> tuple[str, ...]:
    for item in items:
        if items.count(item) > 1:
            raise ValueError(f"a list that has each item once; {item!r} is repeated")
    return items


Version = Annotated[Integer, Field(ge=0, le=MAX_INTEGER)]


class ProjectBody(Model):
    name: DnsLabel
    display_name: str = Field(default="", max_length=64)
    """The name for people, which Flyte calls the name; its id is the name here."""
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


class QueueBody(Model):
    name: DnsLabel
    """The name of the queue, as the label of Kueue has it."""
    attributes: Annotated[tuple[Text, ...], AfterValidator(_check_distinct)] = Field(
        default=(), max_length=64
    )
    """The queue takes executions all of whose tags, of ``execution_queue``, are among these."""
    clusters: Annotated[tuple[DnsLabel, ...], AfterValidator(_check_distinct)] = Field(
        default=(), max_length=64
    )
    """The declared clusters that have the queue, and that its executions run on; none is every
    cluster."""
    system: Literal["kueue", "child_queue"] = "kueue"
    """Where the name goes: ``kueue`` to the label ``kueue.x-k8s.io/queue-name`` of pods,
    ``child_queue`` to the annotation ``trimtab.io/child-queue``."""
    version: Version | None = None
    """Returned by admin; ignored in a request."""


class PoolTokenBody(Model):
    """Names a pool's token, in addition to its id in the path."""

    pools: tuple[PoolName, ...] = Field(default=(), max_length=16)
    """All pools of the token, where it is of several."""


class PoolPriorityBody(PoolTokenBody):
    """A new priority for a waiter."""

    priority: Integer = Field(ge=-1000, le=1000)
