"""The requests in EXECUTIONS: read by subject, deleted by sequence, and copied where rejected.

The stream has a work queue's retention, which allows one consumer of a subject, and a consumer
returns the requests of all project-domains in the order of their arrival. So its messages are read
without a consumer.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError
from pydantic_core import from_json

from trimtab import models
from trimtab.errors import Rejected, Unavailable
from trimtab.messages import subjects
from trimtab.messages.executions import ExecutionRequested, Request
from trimtab.runtime import bus, dead_letters, retrying

_MESSAGE_NOT_FOUND = 10043
_NO_MESSAGE = 10037
_GONE = frozenset({_MESSAGE_NOT_FOUND, _NO_MESSAGE})
"""Error codes of the deletion of a message that another propeller has deleted."""


_NAMES = ("execution", "domain", "project")
"""Fields of a request that even one that cannot be read must have."""


class RequestsList(NamedTuple):
    """The requests that the stream holds, without their bodies."""

    created: str
    """When the stream was created. The sequences of another one are not comparable."""
    counts: Mapping[str, int]
    """The number of requests by subject, for each subject that has any."""


class RequestStream:
    """The stream EXECUTIONS. Every method raises `Unavailable`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def list(self) -> RequestsList:
        jetstream = self._client.jetstream(timeout=bus.TIMEOUT_SECONDS)
        try:
            info = await jetstream.stream_info(
                subjects.EXECUTIONS, subjects_filter=subjects.ALL_REQUESTED
            )
        except (nats.errors.Error, TimeoutError) as error:
            raise _unavailable("list the requests", error) from error
        retrying.raise_if_cancelled()
        return RequestsList(str(info.created), info.state.subjects or {})

    async def first(self, subject: str, sequence: int) -> bus.StoredMessage | None:
        """Return the first message of a subject at or after a sequence; ``None`` without one."""
        jetstream = self._client.jetstream(timeout=bus.TIMEOUT_SECONDS)
        try:
            found = await jetstream.get_msg(
                subjects.EXECUTIONS, seq=sequence, subject=subject, next=True
            )
        except nats.js.errors.NotFoundError:
            return None
        except (nats.errors.Error, TimeoutError) as error:
            raise _unavailable(f"read {subject}", error) from error
        retrying.raise_if_cancelled()
        return bus.StoredMessage(
            subject, found.seq or 0, found.headers or {}, found.data or b"", is_last=False
        )

    async def delete(self, message: bus.StoredMessage) -> None:
        """Delete a message, unless another propeller has done so."""
        # Erasing would overwrite the message on the disk, which nothing here needs.
        body = json.dumps({"seq": message.sequence, "no_erase": True}).encode()
        subject = f"$JS.API.STREAM.MSG.DELETE.{subjects.EXECUTIONS}"
        try:
            reply = await self._client.request(subject, body, timeout=bus.TIMEOUT_SECONDS)
        except (nats.errors.Error, TimeoutError) as error:
            raise _unavailable(f"delete request {message.sequence}", error) from error
        retrying.raise_if_cancelled()
        failure = json.loads(reply.data).get("error")
        if failure is not None and failure.get("err_code") not in _GONE:
            raise Unavailable(f"cannot delete request {message.sequence}: {failure}")

    async def copy_to_dead_letters(self, message: bus.StoredMessage, reason: str) -> None:
        """Store a copy of a rejected message with the reason."""
        try:
            await dead_letters.copy(
                self._client,
                stream=subjects.EXECUTIONS,
                consumer=subjects.PROPELLER,
                subject=message.subject,
                headers=message.headers,
                body=message.body,
                reason=reason,
            )
        except (nats.errors.Error, TimeoutError) as error:
            raise _unavailable("store a dead letter", error) from error
        retrying.raise_if_cancelled()

    @asynccontextmanager
    async def hints(self, received: Callable[[str], None]) -> AsyncIterator[None]:
        """Call a function with the subject of each new request until the block ends.

        A hint may be missing, and may arrive before the stream has stored the request.
        """

        async def on_message(message: Msg) -> None:
            received(message.subject)

        subscription = await self._client.subscribe(subjects.ALL_REQUESTED, cb=on_message)
        try:
            yield
        finally:
            with suppress(nats.errors.Error):  # A closed connection has no subscriptions.
                await subscription.unsubscribe()


def parse(message: bus.StoredMessage) -> Request:
    """Return the request in a message. Raises `Rejected` where there is none."""
    try:
        request = models.read(ExecutionRequested, message.body).request
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(map(str, first["loc"])) or "body"
        raise Rejected(f"the request cannot be read by this release: {path}: {first['msg']}") from (
            error
        )
    expected = subjects.requested(request.domain, request.project)
    if message.subject != expected:
        raise Rejected(f"the request belongs on {expected}, not on {message.subject}")
    if not execution_of(message):
        raise Rejected("request.execution is empty, or longer than a subject may be")
    return request


def execution_of(message: bus.StoredMessage) -> str:
    """Return the execution that a message requests, as far as that can be read; otherwise empty.

    A message that is not of the project and domain on whose subject it lies is foreign, and
    requests none.
    """
    try:
        content = from_json(message.body)
    except ValueError:
        return ""
    request = content.get("request") if isinstance(content, dict) else None
    names = [request.get(field) for field in _NAMES] if isinstance(request, dict) else []
    match names:
        case [str(execution), str(domain), str(project)]:
            return execution if _is_of_subject(message.subject, execution, domain, project) else ""
        case _:
            return ""


def _is_of_subject(subject: str, execution: str, domain: str, project: str) -> bool:
    try:
        subjects.events(execution)
        return subjects.requested(domain, project) == subject
    except Rejected:
        return False


def _unavailable(what: str, error: Exception) -> Unavailable:
    return Unavailable(f"cannot {what} in {subjects.EXECUTIONS}: {error or type(error).__name__}")
