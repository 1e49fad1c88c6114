"""What keeps the system whole: dead letters, and saying everything again. Pure."""

from pydantic import AwareDatetime

from trimtab.models import Model


class DeadLetterBody(Model):
    """A message that its consumer gave up."""

    sequence: int
    """By which it is read and replayed."""
    stream: str
    consumer: str
    subject: str
    """Where it was."""
    reason: str
    event_id: str = ""
    event_type: str = ""
    at: AwareDatetime
    """When it was given up."""
    body: str | None = None
    """As it came; left out of lists."""


class ReplayedBody(Model):
    """Where a dead letter is now."""

    stream: str
    subject: str
    sequence: int


class ResyncBody(Model):
    """What is said again."""

    revision: int
    """A view that has reached it holds all that lives."""
    settings: int
    """How many subjects, with those that are told to be gone."""
    executions: int
    """How many have not ended and are requested again."""
