"""The kind `cluster_assignment`: the pool of clusters that executions are assigned to.

Flyte's JSON has the shape of our documents.
"""

from trimtab.kinds.flyte import FlyteKind
from trimtab.kinds.kind import Kind, Value
from trimtab.labels import Text
from trimtab.levels import Level


class ClusterAssignment(Value):
    """A pool of clusters."""

    cluster_pool_name: Text | None = None
    """The name of the pool of clusters."""


KIND = Kind(
    name="cluster_assignment",
    value=ClusterAssignment,
    levels=frozenset(Level) - {Level.SETTINGS},
    noun="cluster-assignment",
    summary="The pool of clusters that executions are assigned to",
    flyte=FlyteKind(
        number=7,
        message="ClusterAssignment",
        record_levels=(Level.PROJECT, Level.PROJECT_DOMAIN),
        configuration_levels=(Level.SETTINGS, Level.PLATFORM, Level.DOMAIN),
    ),
    sample={"cluster_pool_name": "my-pool"},
)
