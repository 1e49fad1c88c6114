"""Lists dead letters and publishes them again. `trimtab.runtime.deliveries` writes them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import RawStreamMsg

from trimtab.api.maintenance import DeadLetterBody, ReplayedBody
from trimtab.errors import Conflict, NotFound, Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import DEAD_REASON, DEAD_SUBJECT, EVENT_ID, EVENT_TYPE
from trimtab.runtime import bus
from trimtab_admin import paging
from trimtab_admin.paging import Page

_DEAD_HEADERS = frozenset({DEAD_REASON, DEAD_SUBJECT})
"""Headers that the dead letter has and the original message had not."""


@dataclass(frozen=True)
class _OriginalMessage:
    """The rejected message, as it is published again."""

    event_type: str
    data: bytes

    def body(self) -> bytes:
        return self.data


class DeadLetters:
    """Reads and replays the messages of DEAD_LETTERS. Every method raises `Unavailable`."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    async def list(
        self, stream: str, consumer: str, cursor: str, limit: int
    ) -> Page[DeadLetterBody]:
        """Return a page of dead letters, oldest first, without bodies.

        An empty name matches every stream or consumer. Raises `Invalid` for a wrong cursor.
        """
        filtered = subjects.dead(stream or "*", consumer or "*")
        sequence = _last_listed(cursor)
        found: list[DeadLetterBody] = []
        while (message := await self._next(filtered, sequence + 1)) is not None:
            if len(found) == limit:
                return Page(found, paging.encode((sequence,)))
            sequence = message.seq or 0
            found.append(_body(message))
        return Page(found, None)

    async def get(self, sequence: int) -> DeadLetterBody:
        """Return a dead letter with its body. Raises `NotFound`."""
        message = await self._message(sequence)
        text = (message.data or b"").decode(errors="replace")
        return _body(message).model_copy(update={"body": text})

    async def replay(self, sequence: int, *, dry_run: bool = False) -> ReplayedBody:
        """Publish the message to its original subject again, then delete the dead letter.

        If the deletion fails, another call publishes nothing, because the message has the same id.
        Raises `NotFound`, and `Conflict` if the dead letter does not name the original subject.
        """
        message = await self._message(sequence)
        headers = message.headers or {}
        body = _body(message)
        if not body.subject:
            raise Conflict(f"dead letter {sequence} does not name its original subject")
        if dry_run:
            return ReplayedBody(stream=body.stream, subject=body.subject)
        event_id = body.event_id or f"{message.time}"
        stored = await bus.publish(
            self._client(),
            body.stream,
            body.subject,
            _OriginalMessage(body.event_type, message.data or b""),
            event_id=f"{event_id}-replayed-{sequence}",
            # The event id, by which consumers detect duplicates, and the trace stay.
            headers={name: value for name, value in headers.items() if name not in _DEAD_HEADERS},
        )
        await self._delete(sequence)
        return ReplayedBody(stream=body.stream, subject=body.subject, sequence=stored)

    async def _message(self, sequence: int) -> RawStreamMsg:
        message = await self._next(subjects.dead("*", "*"), sequence)
        if message is None or message.seq != sequence:
            raise NotFound("dead letter", str(sequence))
        return message

    async def _next(self, subject: str, sequence: int) -> RawStreamMsg | None:
        """Return the first message at or after a sequence, or ``None``."""
        jetstream = self._client().jetstream(timeout=bus.TIMEOUT_SECONDS)
        try:
            message = await jetstream.get_msg(
                subjects.DEAD_LETTERS, seq=sequence, subject=subject, next=True
            )
            # The client returns a header of foreign bytes as an object that is no text.
            message.headers = {n: str(value) for n, value in (message.headers or {}).items()}
            return message
        except nats.js.errors.NotFoundError:
            return None
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"cannot read {subjects.DEAD_LETTERS}: {error}") from error

    async def _delete(self, sequence: int) -> None:
        jetstream = self._client().jetstream(timeout=bus.TIMEOUT_SECONDS)
        try:
            await jetstream.delete_msg(subjects.DEAD_LETTERS, sequence)
        except nats.js.errors.APIError:
            return  # A concurrent call has deleted it.
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(
                f"dead letter {sequence} was published again, but not deleted: {error}"
            ) from error


def _last_listed(cursor: str) -> int:
    """Return the sequence that the page before ended with; 0 for the first page.

    Raises `Invalid`.
    """
    if not cursor:
        return 0
    key = paging.decode(cursor)
    if len(key) != 1 or not isinstance(key[0], int) or not 0 <= key[0] < 2**63:
        raise paging.invalid_cursor(cursor)
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
