"""Whether admin can do its work, and how far its events are."""

import asyncio
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from trimtab.errors import Unavailable
from trimtab_admin.metrics import OutboxBacklog
from trimtab_admin.operations.exchange import Exchange
from trimtab_admin.storage import outbox
from trimtab_admin.storage.database import Sessions, transaction

_TIMEOUT_SECONDS = 2.0
_STUCK = timedelta(seconds=10)
"""Far more than the relay takes for anything but an outage."""


class StatusBody(BaseModel):
    """How far admin is."""

    revision: int
    """Of the database."""
    sent_revision: int
    """Of what is in the stream."""
    nats_connected: bool
    relays: bool
    """Whether it is this admin that publishes the settings; of several, one does."""


class Readiness:
    """Asks each part when it is asked."""

    def __init__(self, reading: Sessions, exchange: Exchange) -> None:
        self._reading = reading
        self._exchange = exchange

    async def reasons(self) -> dict[str, str]:
        """What is wrong, by part; empty when ready."""
        wrong = {}
        if not self._exchange.connected:
            wrong["nats"] = "not connected"
        elif not self._exchange.sent:
            wrong["relay"] = "has not looked at the stream yet"
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                waiting = (await self.outbox()).since
        except (Unavailable, TimeoutError) as error:
            return wrong | {"database": str(error) or f"no answer in {_TIMEOUT_SECONDS} s"}
        if not wrong and waiting is not None and datetime.now(UTC) - waiting > _STUCK:
            wrong["relay"] = f"a change of {waiting:%H:%M:%S} UTC is not in the stream yet"
        return wrong

    async def status(self) -> StatusBody:
        async with transaction(self._reading) as session:
            revision = await outbox.current_revision(session)
        return StatusBody(
            revision=revision,
            sent_revision=self._exchange.sent,
            nats_connected=self._exchange.connected,
            relays=self._exchange.relays,
        )

    async def outbox(self) -> OutboxBacklog:
        """Return how far the stream is behind the database. Raises `Unavailable`."""
        return await outbox.backlog(self._reading, self._exchange.sent)
