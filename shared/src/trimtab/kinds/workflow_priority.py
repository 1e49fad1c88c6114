"""How urgent executions are: a kind that Flyte does not have, and the worked example of one."""

from pydantic import Field

from trimtab.kinds.kind import Kind, Value
from trimtab.levels import Level


class WorkflowPriority(Value):
    """One number; a larger one is more urgent."""

    priority: int | None = Field(default=None, ge=-1000, le=1000)
    """Passed to resmgr with every token that the execution asks for."""


KIND = Kind(
    name="workflow_priority",
    value=WorkflowPriority,
    levels=frozenset(Level) - {Level.SETTINGS},
    noun="workflow-priority",
    summary="How urgent executions are",
)
