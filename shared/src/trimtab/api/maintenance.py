"""The status of an installation, prunes, dead letters, and the resync of all readers. Pure."""

from pydantic import AwareDatetime, Field

from trimtab.models import Model


class DoorBody(Model, extra="ignore"):
    """A door of admin for clients of Flyte."""

    name: str
    """``grpc``, ``rest`` or ``connect``."""
    port: int | None = None
    """The port of the door; ``null`` where it is that of the API."""
    tls: bool = False
    anonymous: str = ""
    """The role of calls without credentials; empty where they are refused."""


class StatusBody(Model, extra="ignore"):
    """The revisions of the database and of the stream, and the servers that admin uses."""

    version: str = ""
    """The version of admin."""
    revision: int
    """The current revision of the database."""
    sent_revision: int
    """The last revision that is known to be in the stream."""
    unsent: int = 0
    """The number of changes that are not in the stream yet."""
    unsent_since: AwareDatetime | None = None
    """When the oldest of them was made."""
    requests: int | None = None
    """The number of executions that no propeller has claimed; ``None`` where NATS is away."""
    relays: bool
    """Whether this admin publishes the settings; one of several does."""
    nats_connected: bool
    nats_sync: str
    """Whether the NATS server syncs a message to its disk before it acknowledges it."""
    nats: str = ""
    """The address of the NATS server; empty for callers that are no viewers of the platform."""
    nats_version: str = ""
    database: str = ""
    """The address of the database, without user and password; empty for the same callers."""
    database_version: str = ""
    doors: tuple[DoorBody, ...] = ()
    """The doors that are served."""


class PruneRequest(Model):
    """The list of objects that a confirmation is for."""

    digest: str = Field(default="", pattern="^([0-9a-f]{16,64})?$")
    """The digest that a dry run returned; a dry run needs none."""


class PruneBody(Model):
    """Objects that clusterres deletes from a namespace once an admin has confirmed the list."""

    cluster: str
    namespace: str
    project: str
    """Empty where the namespace is for all projects."""
    domain: str
    """Empty where the namespace is for all domains."""
    digest: str
    """Names the list of objects."""
    objects: tuple[str, ...]
    """API group, kind, name and uid of each object, of very many the first."""
    count: int
    """The number of objects."""
    version: int | None = None
    """The version of the confirmation; ``null`` where this list is not confirmed."""


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
