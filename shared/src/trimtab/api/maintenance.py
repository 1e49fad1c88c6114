"""Dead letters, and the resync of all readers. Pure."""

from pydantic import AwareDatetime

from trimtab.models import Model


class DeadLetterBody(Model):
    """A message that its consumer rejected."""

    sequence: int
    """Identifies the dead letter in the calls that read and replay it."""
    stream: str
    consumer: str
    subject: str
    """The subject that the message was published on."""
    reason: str
    event_id: str = ""
    event_type: str = ""
    at: AwareDatetime
    """When the consumer rejected it."""
    body: str | None = None
    """The body as it was published; absent in lists."""


class ReplayedBody(Model):
    """Where a dead letter was published again."""

    stream: str
    subject: str
    sequence: int | None = None
    """``null`` in a dry run."""


class ResyncBody(Model):
    """The extent of a resync: everything that it publishes again."""

    revision: int
    """A view that has reached this revision is complete."""
    settings: int
    """The number of subjects, tombstones included."""
    executions: int
    """The number of unfinished executions that are requested again."""
