"""Which queue the tasks of executions go to.

Flyte's files have our shape.
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from trimtab.kinds.flyte import FlyteKind
from trimtab.kinds.kind import Kind, Value
from trimtab.labels import Text
from trimtab.levels import Level


def _once(tags: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(tags)) < len(tags):
        raise ValueError("each tag once")
    return tags


class ExecutionQueue(Value):
    """Tags by which a queue is found."""

    tags: Annotated[tuple[Text, ...], AfterValidator(_once)] | None = Field(
        default=None, strict=False
    )
    """The first one that a queue has decides; a narrower record replaces all of them."""


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
    ),
)
