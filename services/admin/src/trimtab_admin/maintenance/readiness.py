"""Whether admin can do its work, and how far the stream is behind the database."""

import asyncio
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from trimtab.errors import Unavailable
from trimtab_admin.messaging.durability import Sync
from trimtab_admin.metrics import OutboxBacklog
from trimtab_admin.nats_tasks import NatsTasks
from trimtab_admin.storage import outbox
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.tree import Tree

_TIMEOUT_SECONDS = 2.0
_MAX_BACKLOG_AGE = timedelta(seconds=10)
"""Far more than the relay needs to publish a change, except during an outage."""


class StatusBody(BaseModel):
    """The revisions of the database and of the stream, and the state of the connection."""

    revision: int
    """The current revision of the database."""
    sent_revision: int
    """The last revision that is known to be in the stream."""
    nats_connected: bool
    nats_sync: Sync
    """Whether the NATS server syncs a message to its disk before it acknowledges it."""
    relays: bool
    """Whether this admin publishes the settings; one of several does."""


class Readiness:
    """Reads the state of each part when it is called."""

    def __init__(self, reading: Sessions, tree: Tree, nats_tasks: NatsTasks) -> None:
        self._reading = reading
        self._tree = tree
        self._nats_tasks = nats_tasks

    async def reasons(self) -> dict[str, str]:
        """Return why admin is not ready, by part; empty if it is ready."""
        reasons = {}
        if not self._nats_tasks.is_connected:
            reasons["nats"] = "not connected"
        elif not self._nats_tasks.sent_revision:
            reasons["relay"] = "has not read the stream yet"
        if self._tree.is_loading:
            reasons["settings"] = "not all of them are in memory yet"
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                oldest = (await self.outbox()).since
        except (Unavailable, TimeoutError) as error:
            return reasons | {"database": str(error) or f"no response in {_TIMEOUT_SECONDS} s"}
        if not reasons and oldest and datetime.now(UTC) - oldest > _MAX_BACKLOG_AGE:
            reasons["relay"] = f"a change of {oldest:%H:%M:%S} UTC is not in the stream yet"
        return reasons

    async def status(self) -> StatusBody:
        async with transaction(self._reading) as session:
            revision = await outbox.current_revision(session)
        return StatusBody(
            revision=revision,
            sent_revision=self._nats_tasks.sent_revision,
            nats_connected=self._nats_tasks.is_connected,
            nats_sync=self._nats_tasks.nats_sync,
            relays=self._nats_tasks.is_relay_leader,
        )

    async def outbox(self) -> OutboxBacklog:
        """Return how far the stream is behind the database. Raises `Unavailable`."""
        return await outbox.backlog(self._reading, self._nats_tasks.sent_revision)
