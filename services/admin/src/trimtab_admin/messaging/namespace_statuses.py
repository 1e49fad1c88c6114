"""The status of each namespace, which clusterres publishes. The stream is its only store."""

from collections.abc import Sequence
from contextlib import aclosing

from nats.aio.client import Client

from trimtab.messages import parsing, subjects
from trimtab.messages.events import NamespaceStatus
from trimtab.messages.parsing import Foreign
from trimtab.runtime import bus, tasks
from trimtab.runtime.foreign import ForeignMessages


class NamespaceStatuses:
    """Holds the last status of each namespace on each cluster in memory."""

    def __init__(self) -> None:
        self._statuses: dict[str, NamespaceStatus] = {}
        self._foreign = ForeignMessages(subjects.NAMESPACES)

    def list(self) -> Sequence[NamespaceStatus]:
        return [self._statuses[subject] for subject in sorted(self._statuses)]

    async def follow(self, client: Client) -> None:
        """Keep the statuses up to date until cancelled."""
        await tasks.retry_forever(lambda: self._read(client), "namespaces.interrupted")

    async def _read(self, client: Client) -> None:
        # A new dict replaces the old one when it is complete, so a reconnect never shows a part.
        read: dict[str, NamespaceStatus] = {}
        stream, subject = subjects.NAMESPACES, subjects.ALL_NAMESPACES
        async with aclosing(bus.follow(client, stream, subject)) as messages:
            async for message in messages:
                if message is None:
                    self._statuses = read
                    continue
                try:
                    read[message.subject] = parsing.namespace_status(
                        message.subject, message.headers, message.body
                    )
                except Foreign as error:
                    self._foreign.report(message.subject, str(error))
