"""The kind `workflow_priority`: how urgent executions are. Flyte does not have this kind."""

from pydantic import Field

from trimtab.kinds.kind import Kind, Value
from trimtab.levels import Level


class WorkflowPriority(Value):
    """The priority of executions; a larger number is more urgent."""

    priority: int | None = Field(default=None, ge=-1000, le=1000)
    """Sent to resmgr with every token that an execution requests."""


KIND = Kind(
    name="workflow_priority",
    value=WorkflowPriority,
    levels=frozenset(Level) - {Level.SETTINGS},
    noun="workflow-priority",
    summary="How urgent executions are",
    sample={"priority": 10},
)
