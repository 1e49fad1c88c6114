"""The status of each namespace, which clusterres publishes. The stream is its only store."""

from collections.abc import Callable, Sequence
from contextlib import aclosing

from nats.aio.client import Client

from trimtab.messages import parsing, subjects
from trimtab.messages.events import NamespaceStatus
from trimtab.messages.parsing import Foreign
from trimtab.runtime import bus, tasks
from trimtab.runtime.bus import StoredMessage
from trimtab.runtime.foreign import ForeignMessages


def _ignore(_namespace: str) -> None:
    pass


class NamespaceStatuses:
    """Holds the last status of each namespace in memory, of all clusters or of one."""

    def __init__(self, cluster: str = "") -> None:
        self._subject = subjects.namespaces_of(cluster) if cluster else subjects.ALL_NAMESPACES
        self._statuses: dict[str, NamespaceStatus] = {}
        self._foreign = ForeignMessages(subjects.NAMESPACES)

    def list(self) -> Sequence[NamespaceStatus]:
        return [self._statuses[subject] for subject in sorted(self._statuses)]

    def get(self, cluster: str, namespace: str) -> NamespaceStatus | None:
        return self._statuses.get(subjects.namespace(cluster, namespace))

    async def follow(self, client: Client, on_change: Callable[[str], None] = _ignore) -> None:
        """Keep the statuses up to date until cancelled.

        ``on_change`` is called with the name of each namespace after its status has changed.
        """
        await tasks.retry_forever(lambda: self._read(client, on_change), "namespaces.interrupted")

    async def _read(self, client: Client, on_change: Callable[[str], None]) -> None:
        # A new dict replaces the old one when it is complete, so a reconnect never shows a part.
        read: dict[str, NamespaceStatus] = {}
        async with aclosing(bus.follow(client, subjects.NAMESPACES, self._subject)) as messages:
            async for message in messages:
                if message is None:
                    self._statuses = read
                    for known in read.values():
                        on_change(known.namespace)
                elif (status := self._parse(message)) is not None:
                    read[message.subject] = status
                    if read is self._statuses:
                        on_change(status.namespace)

    def _parse(self, message: StoredMessage) -> NamespaceStatus | None:
        try:
            return parsing.namespace_status(message.subject, message.headers, message.body)
        except Foreign as error:
            self._foreign.report(message.subject, str(error))
            return None
