"""Publishes why requests are not claimed, for as long as they wait, so that admin can show it."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

import nats.errors
from nats.aio.client import Client

from trimtab.messages import subjects
from trimtab.messages.events import ExecutionsWaiting

INTERVAL_SECONDS = 1.0


class WaitReports:
    """The reports of one propeller. They are not stored, so they are published again and again."""

    def __init__(
        self, client: Client, owner: str, reasons: Callable[[], Mapping[str, str]]
    ) -> None:
        """``reasons`` returns why each project-domain waits, by the subject of its requests."""
        self._client = client
        self._owner = owner
        self._reasons = reasons

    async def publish_regularly(self) -> None:
        """Publish until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            # While the server is away no request can be claimed, and admin shows none of this.
            with suppress(nats.errors.Error):
                await self._publish()

    async def _publish(self) -> None:
        for subject, reason in self._reasons().items():
            domain, project = subjects.parse_requested(subject)
            waiting = ExecutionsWaiting(
                owner=self._owner, project=project, domain=domain, reason=reason
            )
            await self._client.publish(subjects.waiting(domain, project), waiting.body())
