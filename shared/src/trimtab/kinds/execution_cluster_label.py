"""The kind `execution_cluster_label`: the label of the clusters that executions run on.

Flyte's files have the shape of our documents.
"""

from pydantic import Field

from trimtab.kinds.flyte import FlyteKind
from trimtab.kinds.kind import Kind, Value
from trimtab.levels import Level


class ExecutionClusterLabel(Value):
    """A label of clusters, or any cluster, never both: a narrower record that sets one unsets the
    other."""

    value: str | None = Field(default=None, min_length=1, max_length=63)
    """The label; an execution runs on a cluster that has it."""
    any: bool | None = None
    """Whether an execution may run on any enabled cluster, which is selected by weight. Without it
    and without a label, executions are refused where there are several."""


KIND = Kind(
    name="execution_cluster_label",
    value=ExecutionClusterLabel,
    levels=frozenset(Level) - {Level.SETTINGS},
    noun="execution-cluster-label",
    summary="The label of the clusters that executions run on",
    # Flyte selects any cluster wherever no label fits, without a record.
    flyte=FlyteKind(
        number=3,
        message="ExecutionClusterLabel",
        native_fields=frozenset({"any"}),
        ignores_empty=True,
    ),
    alternatives=frozenset({"value", "any"}),
    sample={"value": "my-cluster"},
)
