"""Which clusters an execution may be placed on.

Flyte's files have our shape.
"""

from pydantic import Field

from trimtab.kinds.flyte import FlyteKind
from trimtab.kinds.kind import Kind, Value
from trimtab.levels import Level


class ExecutionClusterLabel(Value):
    """A label that one or more clusters carry."""

    value: str | None = Field(default=None, min_length=1, max_length=63)
    """The label."""


KIND = Kind(
    name="execution_cluster_label",
    value=ExecutionClusterLabel,
    levels=frozenset(Level) - {Level.SETTINGS},
    noun="execution-cluster-label",
    summary="The label of the clusters that executions are placed on",
    flyte=FlyteKind(number=3, message="ExecutionClusterLabel"),
)
