"""List and replay dead letters, which `trimtab.runtime.deliveries` copies to DEAD_LETTERS."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import RawStreamMsg

from trimtab.api.operations import DeadLetterBody, ReplayedBody
from trimtab.errors import Conflict, NotFound, Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import DEAD_REASON, DEAD_SUBJECT, EVENT_ID, EVENT_TYPE
from trimtab.runtime import bus
from trimtab_admin import paging
from trimtab_admin.paging import Page

_OURS = frozenset({DEAD_REASON, DEAD_SUBJECT})
"""Headers that only the copy has."""


@dataclass(frozen=True)
class _Copy:
    """The message as it was, to be published again."""

    event_type: str
    data: bytes

    def body(self) -> bytes:
        return self.data


class DeadLetters:
    """What is kept of them; every method raises `Unavailable`."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    async def list(
        self, stream: str, consumer: str, token: str, limit: int
    ) -> Page[DeadLetterBody]:
        """The oldest first, without bodies; an empty name does not matter."""
        filtered = subjects.dead(stream or "*", consumer or "*")
        sequence = _after(token)
        found: list[DeadLetterBody] = []
        while (message := await self._next(filtered, sequence + 1)) is not None:
            if len(found) == limit:
                return Page(found, paging.encoded((sequence,)))
            sequence = message.seq or 0
            found.append(_body(message))
        return Page(found, None)

    async def get(self, sequence: int) -> DeadLetterBody:
        """With its body. Raises `NotFound`."""
        message = await self._message(sequence)
        text = (message.data or b"").decode(errors="replace")
        return _body(message).model_copy(update={"body": text})

    async def replay(self, sequence: int) -> ReplayedBody:
        """Publish it again where it was, then forget the copy.

        Between the two, a second call publishes nothing, because both give the message one id.
        Raises `NotFound`, and `Conflict` where the copy does not say where it was.
        """
        message = await self._message(sequence)
        headers = message.headers or {}
        body = _body(message)
        if not body.subject:
            raise Conflict(f"dead letter {sequence} does not say which subject it was on")
        event_id = body.event_id or f"{message.time}"
        stored = await bus.publish(
            self._client(),
            body.stream,
            body.subject,
            _Copy(body.event_type, message.data or b""),
            event_id=f"{event_id}-replayed-{sequence}",
            # Its own id, by which consumers know it, and the trace that it belongs to.
            headers={name: value for name, value in headers.items() if name not in _OURS},
        )
        await self._forget(sequence)
        return ReplayedBody(stream=body.stream, subject=body.subject, sequence=stored)

    async def _message(self, sequence: int) -> RawStreamMsg:
        message = await self._next(subjects.dead("*", "*"), sequence)
        if message is None or message.seq != sequence:
            raise NotFound("dead letter", str(sequence))
        return message

    async def _next(self, subject: str, sequence: int) -> RawStreamMsg | None:
        """The first one at or behind a sequence; ``None`` where there is none."""
        jetstream = self._client().jetstream(timeout=bus.TIMEOUT_SECONDS)
        try:
            return await jetstream.get_msg(
                subjects.DEAD_LETTERS, seq=sequence, subject=subject, next=True
            )
        except nats.js.errors.NotFoundError:
            return None
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"cannot read {subjects.DEAD_LETTERS}: {error}") from error

    async def _forget(self, sequence: int) -> None:
        jetstream = self._client().jetstream(timeout=bus.TIMEOUT_SECONDS)
        try:
            await jetstream.delete_msg(subjects.DEAD_LETTERS, sequence)
        except nats.js.errors.APIError:
            return  # Somebody else has replayed it at the same time.
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(
                f"dead letter {sequence} is published again, but not yet removed: {error}"
            ) from error


def _after(token: str) -> int:
    """The sequence of the last one that was listed. Raises `Invalid`."""
    if not token:
        return 0
    key = paging.decoded(token)
    if len(key) != 1 or not isinstance(key[0], int) or not 0 <= key[0] < 2**63:
        raise paging.invalid(token)
    return key[0]


def _body(message: RawStreamMsg) -> DeadLetterBody:
    headers = message.headers or {}
    *_, stream, consumer = (message.subject or "").split(".")
    return DeadLetterBody(
        sequence=message.seq or 0,
        stream=stream,
        consumer=consumer,
        subject=headers.get(DEAD_SUBJECT, ""),
        reason=headers.get(DEAD_REASON, ""),
        event_id=headers.get(EVENT_ID, ""),
        event_type=headers.get(EVENT_TYPE, ""),
        at=message.time or datetime.now(UTC),
    )
