"""Whether admin can do its work, and how far the stream is behind the database."""

import asyncio
from datetime import UTC, datetime, timedelta

from trimtab.api.maintenance import StatusBody
from trimtab.errors import Unavailable
from trimtab.release import VERSION
from trimtab_admin.metrics import OutboxBacklog
from trimtab_admin.nats_tasks import NatsTasks
from trimtab_admin.storage import outbox
from trimtab_admin.storage.database import Sessions, server_of
from trimtab_admin.storage.tree import Tree

_TIMEOUT_SECONDS = 2.0
_MAX_BACKLOG_AGE = timedelta(seconds=10)
"""Far more than the relay needs to publish a change, except during an outage."""


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
        """Return the state of admin and of its servers. Raises `Unavailable`."""
        tasks, backlog = self._nats_tasks, await self.outbox()
        nats, nats_version = tasks.server
        database, database_version = server_of(self._reading)
        return StatusBody(
            version=VERSION,
            revision=backlog.revision,
            sent_revision=tasks.sent_revision,
            unsent=backlog.unsent,
            unsent_since=backlog.since,
            requests=await tasks.count_requests(),
            relays=tasks.is_relay_leader,
            nats_connected=tasks.is_connected,
            nats_sync=tasks.nats_sync,
            nats=nats,
            nats_version=nats_version,
            database=database,
            database_version=database_version,
        )

    async def outbox(self) -> OutboxBacklog:
        """Return how far the stream is behind the database. Raises `Unavailable`."""
        return await outbox.backlog(self._reading, self._nats_tasks.sent_revision)
