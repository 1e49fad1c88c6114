"""The log of one execution, appended to by its owner: every append is a compare-and-set."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

from nats.aio.client import Client
from pydantic import ValidationError

from trimtab.errors import Rejected, Unavailable, Unreadable
from trimtab.messages import subjects
from trimtab.messages.executions import AnyEvent, Owned, Request, State, parse_event, replay
from trimtab.runtime import bus, retrying
from trimtab.runtime.bus import WrongSequence
from trimtab_propeller import metrics

log = logging.getLogger(__name__)

_HEADERS_BYTES = 4096
"""Room for the headers in a message."""
_LAST_PAUSE_SECONDS = 2.0


class Journal:
    """What an owner knows of the log, and its right to append to it."""

    def __init__(
        self, client: Client, owner: str, state: State, *, epoch: int, sequence: int
    ) -> None:
        self.state = state
        self._client = client
        self._owner = owner
        self._epoch = epoch
        self._sequence = sequence
        self._lock = asyncio.Lock()

    async def append(self, make: Callable[..., AnyEvent]) -> None:
        """Append what ``make`` makes of its place in the log, however long the server is away.

        Raises `WrongSequence` where somebody else has appended: then this owner must not act.
        """
        async with self._lock:
            event = make(
                execution=self.state.execution,
                index=self.state.length,
                owner=self._owner,
                epoch=self._epoch,
                at=datetime.now(UTC),
            )
            size = len(event.body())
            if size + _HEADERS_BYTES > self._client.max_payload:
                raise Rejected(
                    f"{event.event_type} has {size} bytes, more than a message of NATS can hold"
                )
            self._sequence = await self._stored(event)
            self.state.apply(event)
            metrics.appended(event)

    async def _stored(self, event: AnyEvent) -> int:
        """The sequence it got. The same id again and again, so that it is stored once."""
        event_id, pause, doubtful = str(uuid4()), 0.1, False
        while True:
            retrying.raise_if_cancelled()
            try:
                return await self._publish(event, event_id)
            except Unavailable as error:
                # Stored or not: only the answer is missing for certain.
                doubtful = True
                log.warning("journal.waits", extra={"error": str(error)})
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LAST_PAUSE_SECONDS)
            except WrongSequence:
                if doubtful and (sequence := await self._found(event)):
                    return sequence
                raise

    async def _publish(self, event: AnyEvent, event_id: str) -> int:
        return await bus.publish(
            self._client,
            subjects.EXECUTION_EVENTS,
            subjects.events(event.execution),
            event,
            event_id=event_id,
            last_subject_sequence=self._sequence,
        )

    async def _found(self, event: AnyEvent) -> int | None:
        """The sequence of the event where it is the last one stored."""
        while True:
            try:
                messages = await _messages(self._client, event.execution)
            except Unavailable:
                await asyncio.sleep(_LAST_PAUSE_SECONDS)
                continue
            last = messages[-1] if messages else None
            return last.sequence if last is not None and last.body == event.body() else None


async def claim(client: Client, owner: str, request: Request) -> Journal:
    """Begin the log. Raises `WrongSequence` where it was begun before, and `Unavailable`."""
    state = State(execution=request.execution)
    event = Owned(
        execution=request.execution,
        index=0,
        owner=owner,
        epoch=1,
        at=datetime.now(UTC),
        request=request,
    )
    subject = subjects.events(request.execution)
    sequence = await bus.publish(
        client, subjects.EXECUTION_EVENTS, subject, event, last_subject_sequence=0
    )
    state.apply(event)
    metrics.appended(event)
    return Journal(client, owner, state, epoch=1, sequence=sequence)


async def take_over(client: Client, owner: str, execution: str, *, epoch: int) -> Journal | None:
    """Claim an execution whose last claim was ``epoch``; ``None`` where there is nothing to claim.

    Raises `Unreadable`, `WrongSequence` and `Unavailable`.
    """
    messages = await _messages(client, execution)
    try:
        state = replay(parse_event(message.body) for message in messages)
    except ValidationError as error:
        raise Unreadable(f"the log of {execution} cannot be read: {error}") from error
    if state.ended or state.epoch != epoch:
        return None
    if state.length != len(messages) or state.request is None:
        raise Unreadable(f"the log of {execution} has gaps")
    last = messages[-1].sequence
    journal = Journal(client, owner, state, epoch=epoch + 1, sequence=last)
    await journal.append(partial(Owned))
    return journal


async def _messages(client: Client, execution: str) -> list[bus.StoredMessage]:
    """Raises `Unavailable`."""
    subject = subjects.events(execution)
    try:
        return await bus.read_all(client, subjects.EXECUTION_EVENTS, subject)
    except bus.BrokenSubscription as error:
        raise Unavailable(str(error)) from error
