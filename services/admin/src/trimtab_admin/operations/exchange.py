"""All that admin says and hears on NATS. The API does without it: an outage only delays events."""

import asyncio
import logging

from nats.aio.client import Client

from trimtab.errors import Unavailable
from trimtab.runtime import retrying, telemetry
from trimtab.runtime.connection import connect
from trimtab.tokens.resmgr import ResmgrClient
from trimtab_admin.config import AdminConfig
from trimtab_admin.executions.journal import Journal
from trimtab_admin.executions.purging import Purging
from trimtab_admin.executions.requesting import Requester
from trimtab_admin.operations.namespaces import Namespaces
from trimtab_admin.storage import streams
from trimtab_admin.storage.database import Sessions
from trimtab_admin.storage.relay import Relay

log = logging.getLogger(__name__)


class Exchange:
    """The connection and the tasks on it, for as long as it runs."""

    def __init__(self, settings: AdminConfig, sessions: Sessions, reading: Sessions) -> None:
        self._settings = settings
        self._sessions = sessions
        self._reading = reading
        self._journal = Journal(sessions)
        self._client: Client | None = None
        self._relay: Relay | None = None
        self._requester: Requester | None = None
        self.namespaces = Namespaces()

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    @property
    def client(self) -> Client:
        """Raises `Unavailable` while there is no connection."""
        if self._client is None or not self._client.is_connected:
            raise Unavailable("NATS does not answer")
        return self._client

    @property
    def sent(self) -> int:
        """The last revision that is known to be in the stream."""
        return self._relay.sent if self._relay else 0

    def resmgr(self, cohort: str) -> ResmgrClient:
        """To ask it about pools. Raises `Unavailable` before NATS was there."""
        if self._client is None:
            raise Unavailable("admin is not connected to NATS, and so cannot ask resmgr")
        return ResmgrClient(self._client, cohort, telemetry.headers)

    @property
    def relays(self) -> bool:
        """Whether it is this admin that publishes the settings."""
        return self._relay is not None and self._relay.is_leader

    def settings_changed(self) -> None:
        """There are new rows in the outbox; what is not heard yet is found at the start."""
        if self._relay:
            self._relay.wake()

    def execution_created(self) -> None:
        """There is an execution to be requested."""
        if self._requester:
            self._requester.wake()

    async def run(self) -> None:
        """Until cancelled. Raises `Conflict` where a stream of the server would lose settings."""
        async with (
            connect(self._settings, "admin", self._journal.subscribe, _declare) as client,
            asyncio.TaskGroup() as tasks,
        ):
            self._client = client
            self._requester = Requester(client, self._sessions, self._reading)
            self._relay = Relay(client, self._sessions, self._reading, on_resync=self._on_resync)
            tasks.create_task(self._relay.run())
            tasks.create_task(self._requester.run())
            days = self._settings.execution_log_days
            tasks.create_task(Purging(client, self._reading, days).run())
            tasks.create_task(self.namespaces.follow(client))

    async def _on_resync(self) -> None:
        self.execution_created()


async def _declare(client: Client) -> None:
    """Make the streams, however long the server takes to answer."""
    while True:
        retrying.raise_if_cancelled()
        try:
            await streams.bootstrap(client)
        except Unavailable as error:
            log.warning("streams.unavailable", extra={"error": str(error)})
            await asyncio.sleep(0.2)
        else:
            return
