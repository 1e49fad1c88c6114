"""The kind `execution_queue`: tags that select the queue of executions.

Flyte's files have the shape of our documents.
"""

from typing import Annotated

from pydantic import Field

from trimtab.kinds import repeats
from trimtab.kinds.flyte import FlyteKind
from trimtab.kinds.kind import Kind, Value
from trimtab.labels import Text
from trimtab.levels import Level


class ExecutionQueue(Value):
    """Tags that select a queue."""

    tags: Annotated[tuple[Text, ...], repeats.ONCE] | None = Field(default=None, strict=False)
    """Executions go to the first queue, in the order of names, whose attributes hold all of the
    tags; a narrower record replaces the whole list."""


KIND = Kind(
    name="execution_queue",
    value=ExecutionQueue,
    levels=frozenset(Level) - {Level.SETTINGS},
    noun="execution-queue-attribute",
    summary="Tags of the queue that the tasks of executions go to",
    flyte=FlyteKind(
        number=2,
        message="ExecutionQueueAttributes",
        configuration_levels=(Level.SETTINGS, Level.PLATFORM, Level.DOMAIN),
        ignores_empty=True,
    ),
    likely_mistakes=lambda document: repeats.warnings("tags", document.get("tags")),
    sample={"tags": ["critical", "batch"]},
)
