"""resmgr, asked over NATS: requests with their answers as errors or bodies, and its hints."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from trimtab.errors import NotFound, Unavailable, family_of
from trimtab.messages import subjects
from trimtab.models import Model
from trimtab.tokens.protocol import COHORT

TIMEOUT_SECONDS = 2.0
"""Of one request."""

A = TypeVar("A", bound=Model)


class ResmgrClient:
    """One cohort of it. Everything runs on the event loop of the connection."""

    def __init__(
        self,
        client: Client,
        cohort: str = COHORT,
        headers: Callable[[], dict[str, str]] = dict,
    ) -> None:
        """``headers`` are put on every request, such as those of a trace."""
        self.cohort = cohort
        self._client = client
        self._headers = headers

    async def request(self, request: Model, answer: type[A], timeout: float = TIMEOUT_SECONDS) -> A:
        """Raises `Unavailable`, and `Rejected` with the words of resmgr."""
        body = request.model_dump_json(exclude_none=True).encode()
        subject, headers = self._subject(request), self._headers() or None
        try:
            reply = await self._client.request(subject, body, timeout=timeout, headers=headers)
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"resmgr does not answer ({type(error).__name__})") from error
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # wait_for of Python 3.11, which nats-py uses, loses a cancellation that comes together
            # with its result.
            raise asyncio.CancelledError
        _raise_for(reply)
        return answer.model_validate_json(reply.data)

    async def send(self, request: Model) -> None:
        """Send a request whose answer nobody waits for. It may get lost."""
        body = request.model_dump_json(exclude_none=True).encode()
        with suppress(nats.errors.Error):
            await self._client.publish(
                self._subject(request), body, headers=self._headers() or None
            )

    @asynccontextmanager
    async def hints(self, subject: str) -> AsyncIterator[asyncio.Event]:
        """Set by each message on the subject."""
        hinted = asyncio.Event()

        async def heard(_message: Msg) -> None:
            hinted.set()

        subscription = await self._client.subscribe(subject, cb=heard)
        try:
            yield hinted
        finally:
            with suppress(nats.errors.Error):  # without the connection it is gone already
                await subscription.unsubscribe()

    def _subject(self, request: Model) -> str:
        """Operations are named after their requests: ``force_release`` after `ForceRelease`."""
        operation = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(request).__name__).lower()
        return subjects.resmgr(operation, self.cohort)


def _raise_for(reply: Msg) -> None:
    """Raise the error that the headers of the reply report, with resmgr's message."""
    headers = reply.headers or {}
    text = headers.get("Nats-Service-Error")
    if text is None:
        return
    family = family_of(int(headers.get("Nats-Service-Error-Code") or 400))
    error = NotFound("pool", "") if family is NotFound else family(text)
    error.args = (text,)
    raise error
