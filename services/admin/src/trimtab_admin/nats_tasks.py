"""admin's connection to NATS and the tasks on it.

The API does not depend on them: during an outage of NATS, changes and executions wait in the
database.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from trimtab.blobs.directory import DirectoryBlobStore
from trimtab.blobs.jetstream import JetStreamBlobStore
from trimtab.blobs.locations import directory_of
from trimtab.blobs.port import BlobStore
from trimtab.errors import Unavailable
from trimtab.messages import subjects
from trimtab.runtime import bus, retrying, tasks, telemetry
from trimtab.runtime.connection import connect
from trimtab.runtime.namespace_statuses import NamespaceStatuses
from trimtab.tokens.resmgr import ResmgrClient
from trimtab_admin.config import AdminConfig
from trimtab_admin.executions.blob_collection import BlobCollection
from trimtab_admin.executions.following import ExecutionStreams
from trimtab_admin.executions.projection import CatchUp, Projection, stored_until
from trimtab_admin.executions.requests import Requester
from trimtab_admin.executions.retention import LogDeletion, LogPurge
from trimtab_admin.executions.waits import ExecutionWaits
from trimtab_admin.messaging import streams
from trimtab_admin.messaging.durability import Sync, read_sync
from trimtab_admin.storage.database import Sessions
from trimtab_admin.storage.outbox import OutboxRow
from trimtab_admin.storage.relay import Relay

log = logging.getLogger(__name__)


class NatsTasks:
    """Runs the relay, the requests and the projection of executions, and their purge.

    The connection and its state are available while the tasks run.
    """

    def __init__(
        self,
        settings: AdminConfig,
        sessions: Sessions,
        reading: Sessions,
        searching: Sessions,
        execution_streams: ExecutionStreams,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._reading = reading
        self._searching = searching
        self._execution_streams = execution_streams
        self._projection = Projection(sessions, self._on_stored)
        directory = directory_of(settings.blobs)
        self._blobs = None if directory is None else DirectoryBlobStore(directory)
        self._client: Client | None = None
        self._relay: Relay | None = None
        self._requester: Requester | None = None
        self.namespace_statuses = NamespaceStatuses()
        self.execution_waits = ExecutionWaits()
        self.nats_sync = Sync.UNKNOWN

    async def run(self) -> None:
        """Run until cancelled.

        Raises `Conflict` if a stream of the server has limits that would lose settings.
        """
        async with (
            connect(self._settings, "admin", self._projection.subscribe, self._bootstrap) as client,
            asyncio.TaskGroup() as group,
        ):
            self._client = client
            self._requester = Requester(client, self._sessions, self._reading)
            self._relay = Relay(client, self._sessions, self._reading, on_resync=self._on_resync)
            group.create_task(self._relay.run())
            group.create_task(self._requester.run())
            days = self._settings.execution_log_days
            await client.subscribe(subjects.ALL_STORED, cb=self._on_stored_hint)
            await self.execution_waits.subscribe(client)
            catch_up = CatchUp(self._sessions, self._reading)
            group.create_task(tasks.keep_running(catch_up.run, "catch_up.failed"))
            purge = LogPurge(client, self._reading, days)
            group.create_task(tasks.keep_running(purge.run, "execution_logs.purge_failed"))
            deletion = LogDeletion(self._sessions, self._settings.execution_event_days)
            group.create_task(tasks.keep_running(deletion.run, "execution_logs.deletion_failed"))
            group.create_task(self.namespace_statuses.follow(client))
            days = self._settings.blob_days
            collection = BlobCollection(
                lambda: self.blobs, self._searching, days, lambda: stored_until(client)
            )
            group.create_task(tasks.keep_running(collection.run, "blobs.collection_failed"))

    def close(self) -> None:
        """End the threads of a directory of blobs."""
        if self._blobs is not None:
            self._blobs.close()

    @property
    def is_connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    @property
    def server(self) -> tuple[str, str]:
        """The address and the version of the NATS server; empty while there is no connection."""
        url = self._client.connected_url if self._client else None
        if self._client is None or url is None:
            return "", ""
        version = self._client.connected_server_version
        return f"{url.hostname}:{url.port}", f"{version.major}.{version.minor}.{version.patch}"

    async def count_requests(self) -> int | None:
        """Return the number of executions that no propeller has claimed, if NATS responds."""
        if not self.is_connected:
            return None
        jetstream = self.client.jetstream(timeout=bus.TIMEOUT_SECONDS)
        try:
            return int((await jetstream.stream_info(subjects.EXECUTIONS)).state.messages)
        except (nats.errors.Error, TimeoutError):
            return None

    @property
    def client(self) -> Client:
        """The connection. Raises `Unavailable` while there is none."""
        if self._client is None or not self._client.is_connected:
            raise Unavailable("admin is not connected to NATS")
        return self._client

    @property
    def blobs(self) -> BlobStore:
        """The blob store. Raises `Unavailable` where it is in NATS, and there is no connection."""
        return self._blobs or JetStreamBlobStore(self.client)

    @property
    def sent_revision(self) -> int:
        """The last revision that is known to be in the stream; 0 if none is known."""
        return self._relay.sent if self._relay else 0

    @property
    def is_relay_leader(self) -> bool:
        """Whether this admin publishes the settings; one of several does."""
        return self._relay is not None and self._relay.is_leader

    def resmgr_client(self, cohort: str) -> ResmgrClient:
        """Return a client of a cohort's resmgr.

        Raises `Unavailable` before the first connection.
        """
        if self._client is None:
            raise Unavailable("admin is not connected to NATS, and so cannot reach resmgr")
        return ResmgrClient(self._client, cohort, telemetry.headers)

    def wake_relay(self) -> None:
        """Publish new rows of the outbox soon. Before the relay runs, it will find them anyway."""
        if self._relay:
            self._relay.wake()

    def publish_soon(self, rows: Sequence[OutboxRow]) -> None:
        """Publish committed rows soon. Before the relay runs, it will find them anyway."""
        if self._relay:
            self._relay.publish_soon(rows)

    def wake_requester(self) -> None:
        """Request new executions soon. Before the requester runs, it will find them anyway."""
        if self._requester:
            self._requester.wake()

    async def _on_stored(self, execution: str) -> None:
        """Wake the streams of an execution here and at the other admins."""
        self._execution_streams.wake(execution)
        if self._client is not None:
            # Without the hint, the others only read later.
            with suppress(nats.errors.Error):
                await self._client.publish(subjects.stored(execution), b"")

    async def _on_stored_hint(self, message: Msg) -> None:
        self._execution_streams.wake(subjects.name_of(message.subject))

    async def _on_resync(self) -> None:
        self.wake_requester()

    async def _bootstrap(self, client: Client) -> None:
        """Create the streams, and try again while the server does not respond."""
        while True:
            retrying.raise_if_cancelled()
            try:
                await streams.bootstrap(client)
            except Unavailable as error:
                log.warning("streams.unavailable", extra={"error": str(error)})
                await asyncio.sleep(0.2)
            else:
                break
        self.nats_sync = await read_sync(client)
