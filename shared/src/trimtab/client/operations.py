"""What an operator looks at: namespaces and dead letters."""

from collections.abc import Sequence

from trimtab.api.operations import DeadLetterBody, ReplayedBody
from trimtab.client.requests import Noun, given
from trimtab.messages.events import NamespaceStatus


class Namespaces(Noun):
    async def list(self) -> Sequence[NamespaceStatus]:
        return await self._calls.many(NamespaceStatus, "/namespaces")


class DeadLetters(Noun):
    """Messages that the consumer of a work queue gave up."""

    async def list(
        self, stream: str | None = None, consumer: str | None = None, limit: int | None = None
    ) -> Sequence[DeadLetterBody]:
        """The oldest first, without bodies."""
        params = given(stream=stream, consumer=consumer)
        return await self._calls.many(DeadLetterBody, "/dead", params, limit)

    async def get(self, sequence: int) -> DeadLetterBody:
        return await self._calls.one(DeadLetterBody, "GET", f"/dead/{sequence}")

    async def replay(self, sequence: int) -> ReplayedBody:
        """Publish it where it was, and forget that it was dead."""
        return await self._calls.one(ReplayedBody, "POST", f"/dead/{sequence}/replay", json={})
