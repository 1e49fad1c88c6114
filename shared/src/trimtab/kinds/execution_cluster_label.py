"""The kind `execution_cluster_label`: the label of the clusters that executions run on.

Flyte's files have the shape of our documents.
"""

from pydantic import Field

from trimtab.kinds.flyte import FlyteKind
from trimtab.kinds.kind import Kind, Value
from trimtab.levels import Level


class ExecutionClusterLabel(Value):
    """A label that one or more clusters have."""

    value: str | None = Field(default=None, min_length=1, max_length=63)
    """The label; an execution runs on a cluster that has it."""


KIND = Kind(
    name="execution_cluster_label",
    value=ExecutionClusterLabel,
    levels=frozenset(Level) - {Level.SETTINGS},
    noun="execution-cluster-label",
    summary="The label of the clusters that executions run on",
    flyte=FlyteKind(number=3, message="ExecutionClusterLabel"),
    sample={"value": "my-cluster"},
)
