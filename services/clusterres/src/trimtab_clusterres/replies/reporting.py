"""Replies to requests for the state of the active replica."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from trimtab.api.doctor import ClusterresReport
from trimtab.messages import subjects
from trimtab.release import VERSION
from trimtab.runtime import tasks
from trimtab_clusterres.replies.reviews import ClusterReview

_DEADLINE_SECONDS = 2.0
"""For each cluster: shorter than admin waits for the reply."""


@dataclass(frozen=True)
class Reporting:
    """Run `run` for as long as the service runs: each replica receives a request, one replies."""

    client: Client
    reviews: Sequence[ClusterReview]
    is_active: Callable[[], bool]
    reasons: Callable[[], Mapping[str, str]]
    """Returns why the service is not ready, by part."""
    revision: Callable[[], int]
    """Returns the revision of the view of the settings."""

    async def run(self) -> None:
        """Reply until cancelled."""
        async with asyncio.TaskGroup() as group:

            async def on_request(message: Msg) -> None:
                if self.is_active():
                    group.create_task(self._reply(message))

            subject = subjects.CLUSTERRES_REPORT
            subscription = await self.client.subscribe(subject, cb=on_request)
            try:
                await asyncio.Event().wait()
            finally:
                with suppress(nats.errors.Error):  # A closed connection has no subscriptions.
                    await subscription.unsubscribe()

    async def _reply(self, message: Msg) -> None:
        try:
            body = (await self._report()).model_dump_json().encode()
            await self.client.publish(message.reply, body)
        except Exception as error:  # noqa: BLE001  # the boundary: the caller has a deadline
            tasks.report_failure("report.failed", error)

    async def _report(self) -> ClusterresReport:
        reports = [review.report(_DEADLINE_SECONDS) for review in self.reviews]
        return ClusterresReport(
            version=VERSION,
            revision=self.revision(),
            reasons=dict(self.reasons()),
            clusters=tuple(await asyncio.gather(*reports)),
        )
