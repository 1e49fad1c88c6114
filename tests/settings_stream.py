"""Publishes SETTINGS as admin's relay does, for tests of its readers."""

import asyncio
from collections.abc import Mapping

import nats.errors
from nats.aio.client import Client

from trimtab.errors import Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import (
    COMMIT,
    REVISION,
    Event,
    Watermark,
    settings_subject,
)
from trimtab.runtime import bus
from trimtab.settings.state import Settings


def contents(settings: Settings) -> object:
    """Return the contents of settings in a form that can be compared."""
    by_kind: list[Mapping[str, object]] = [
        settings.records,
        settings.unreadable,
        settings.unknown,
    ]
    of_kinds = [{kind: by_scope for kind, by_scope in each.items() if by_scope} for each in by_kind]
    named = [settings.projects, settings.domains, settings.clusters, settings.pools]
    return settings.revision, str(settings.digest), of_kinds, named


class SettingsStream:
    """The only writer of a stream that was empty at the beginning."""

    def __init__(self, client: Client) -> None:
        self.settings = Settings()
        """The settings that the database would hold; every view must become equal to them."""
        self._client = client
        self._last: dict[str, Event] = {}

    @property
    def revision(self) -> int:
        """The revision of the last change."""
        return self.settings.revision

    async def put(self, *events: Event) -> int:
        """Publish changes as one transaction and return its commit."""
        commit = self.revision + len(events)
        for event in events:
            revision = self.revision + 1
            self.settings.apply(event, revision)
            self._last[settings_subject(event)] = event
            headers = {REVISION: str(revision), COMMIT: str(commit)}
            await self._append(settings_subject(event), event, f"settings-{revision}", headers)
        return commit

    async def watermark(self) -> int:
        """Publish the watermark of the settings; a new view shows nothing before it arrives."""
        digest = self.settings.digest
        mark = Watermark(revision=self.revision, count=digest.count, digest=str(digest))
        return await self._append(subjects.WATERMARK, mark)

    async def announce(self, *events: Event) -> int:
        """Publish changes as one transaction, and its watermark."""
        commit = await self.put(*events)
        await self.watermark()
        return commit

    async def refill(self) -> int:
        """Publish the current state with new revisions and a watermark, as a resync does."""
        return await self.announce(*self._last.values())

    async def _append(
        self,
        subject: str,
        event: Event,
        event_id: str = "",
        headers: dict[str, str] | None = None,
    ) -> int:
        """Append a message once, retrying while the server is away."""
        expected: int | None = None
        while True:
            try:
                sequence = await self._last_sequence()
                if expected is not None and sequence == expected + 1:
                    return sequence  # it was stored, but its confirmation did not arrive
                expected = sequence
                return await bus.publish(
                    self._client,
                    subjects.SETTINGS,
                    subject,
                    event,
                    event_id=event_id,
                    headers=headers,
                    last_sequence=expected,
                )
            except Unavailable:
                await asyncio.sleep(0.05)

    async def _last_sequence(self) -> int:
        try:
            info = await self._client.jetstream(timeout=bus.TIMEOUT_SECONDS).stream_info(
                subjects.SETTINGS
            )
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(str(error)) from error
        return info.state.last_seq
