"""When requests were sent: a replica that was suspended finds old ones in its buffers."""

import asyncio
from contextlib import suppress

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from trimtab.tokens.lease import now

MARK_SECONDS = 0.25
"""The time between two marks: how much older than it is a request may be taken to be."""


class Arrivals:
    """Knows a time before which no request was sent that arrives now.

    It sends itself marks with the time. The server delivers a mark after the messages that it had
    for this connection, so what is read after a mark was sent after it. A process that was
    suspended, or cut off, has no recent mark yet.
    """

    def __init__(self, client: Client) -> None:
        self.since = now()
        """A time of `now` before which no request was sent that arrives at this moment."""
        self._client = client

    async def follow_forever(self) -> None:
        """Keep `since` up to date until cancelled."""
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox, cb=self._on_mark)
        try:
            while True:
                with suppress(nats.errors.Error):  # While there is no server, no request arrives.
                    await self._client.publish(inbox, repr(now()).encode())
                await asyncio.sleep(MARK_SECONDS)
        finally:
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def _on_mark(self, message: Msg) -> None:
        self.since = max(self.since, float(message.data))
