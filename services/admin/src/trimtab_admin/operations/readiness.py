"""Whether admin can do its work, and how far its events are."""

import asyncio
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from pydantic import BaseModel

from trimtab.errors import Unavailable
from trimtab_admin.metrics import Outbox
from trimtab_admin.operations.exchange import Exchange
from trimtab_admin.storage import outbox
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.tables import history

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
            revision = await session.scalar(sa.select(outbox.revision.c.value))
        return StatusBody(
            revision=revision or 0,
            sent_revision=self._exchange.sent,
            nats_connected=self._exchange.connected,
            relays=self._exchange.relays,
        )

    async def outbox(self) -> Outbox:
        """What is not in the stream. Raises `Unavailable`."""
        row, sent = outbox.outbox.c, self._exchange.sent
        # Before the relay has looked at the stream, the marks say what was sent.
        unsent = row.revision > sent if sent else row.sent_at.is_(None)
        rows = outbox.revision.outerjoin(outbox.outbox, unsent)
        rows = rows.outerjoin(history, history.c.revision == row.revision)
        oldest = sa.func.min(history.c.at, type_=history.c.at.type)
        query = sa.select(outbox.revision.c.value, sa.func.count(row.revision), oldest)
        async with transaction(self._reading) as session:
            found = await session.execute(query.select_from(rows).group_by(outbox.revision.c.value))
            return Outbox(*found.one())
