"""The NATS client of resmgr: sends requests, raises errors from replies, subscribes to hints."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from trimtab.errors import NotFound, Unavailable, family_of
from trimtab.messages import subjects
from trimtab.models import Model, read
from trimtab.runtime.retrying import raise_if_cancelled
from trimtab.tokens import protocol

TIMEOUT_SECONDS = 2.0
"""The timeout of one request."""

Reply = TypeVar("Reply", bound=Model)


class ResmgrClient:
    """A client of one cohort. Call it on the event loop of its connection."""

    def __init__(
        self,
        client: Client,
        cohort: str = protocol.COHORT,
        headers: Callable[[], dict[str, str]] = dict,
    ) -> None:
        """``headers`` returns the headers of a request, such as those of a trace."""
        self.cohort = cohort
        self._client = client
        self._headers = headers

    async def request(
        self, request: Model, reply: type[Reply], timeout: float = TIMEOUT_SECONDS
    ) -> Reply:
        """Send a request and return its reply.

        Raises `Unavailable` where none arrives, and the error that resmgr replies.
        """
        body = request.model_dump_json(exclude_none=True).encode()
        subject, headers = self._subject(request), self._headers() or None
        try:
            message = await self._client.request(subject, body, timeout=timeout, headers=headers)
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"resmgr does not answer ({type(error).__name__})") from error
        raise_if_cancelled()
        _raise_error(message)
        return read(reply, message.data)

    async def send(self, request: Model) -> None:
        """Publish a request without waiting for its reply. It may not arrive."""
        body = request.model_dump_json(exclude_none=True).encode()
        subject, headers = self._subject(request), self._headers() or None
        with suppress(nats.errors.Error):
            await self._client.publish(subject, body, headers=headers)

    @asynccontextmanager
    async def hints(self, subject: str) -> AsyncIterator[asyncio.Event]:
        """Yield an event that each message on the subject sets."""
        received = asyncio.Event()

        async def on_message(_message: Msg) -> None:
            received.set()

        subscription = await self._client.subscribe(subject, cb=on_message)
        try:
            yield received
        finally:
            with suppress(nats.errors.Error):  # A closed connection has no subscriptions.
                await subscription.unsubscribe()

    def _subject(self, request: Model) -> str:
        return subjects.resmgr(protocol.operation(type(request)), self.cohort)


def _raise_error(message: Msg) -> None:
    """Raise the error that the headers of the reply report, with resmgr's message."""
    headers = message.headers or {}
    text = headers.get("Nats-Service-Error")
    if text is None:
        return
    family = family_of(int(headers.get("Nats-Service-Error-Code") or 400))
    error = NotFound("pool", "") if family is NotFound else family(text)
    error.args = (text,)
    raise error
