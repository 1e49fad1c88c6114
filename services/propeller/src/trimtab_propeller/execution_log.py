"""The execution log: the subject of one execution in EXECUTION_EVENTS, appended to by its owner.

Every append is a compare-and-set on the subject's last sequence, so that an owner whose execution
was taken over cannot append any more.
"""

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
from trimtab.messages.executions import (
    AnyEvent,
    Failed,
    Owned,
    Refused,
    Request,
    Resolution,
    State,
    Succeeded,
    parse_event,
    replay,
)
from trimtab.runtime import bus, retrying
from trimtab.runtime.bus import WrongSequence
from trimtab_propeller import metrics

log = logging.getLogger(__name__)

_HEADERS_BYTES = 4096
"""Room for the headers of a message."""
_FIRST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 2.0


class ExecutionLog:
    """The log of one execution under one claim: its state, and the right to append to it."""

    def __init__(
        self, client: Client, owner: str, state: State, *, epoch: int, sequence: int
    ) -> None:
        """``sequence`` is that of the last event in EXECUTION_EVENTS."""
        self.state = state
        self._client = client
        self._owner = owner
        self._epoch = epoch
        self._sequence = sequence
        self._lock = asyncio.Lock()

    @property
    def request(self) -> Request:
        assert self.state.request is not None  # the first event of every log carries it
        return self.state.request

    @property
    def resolution(self) -> Resolution:
        assert self.state.resolution is not None  # no node is started before admission
        return self.state.resolution

    async def append(self, make_event: Callable[..., AnyEvent]) -> None:
        """Append an event, retrying indefinitely while the server is unavailable.

        ``make_event`` receives the execution, the index in the log, the owner, the epoch and the
        time. Raises `WrongSequence` where another owner has appended, and this one must not act any
        more, and `Rejected` where the event is larger than a message of NATS may be.
        """
        async with self._lock:
            event = make_event(
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
            self._sequence = await self._store(event)
            self.state.apply(event)
            metrics.count_event(event)

    async def _store(self, event: AnyEvent) -> int:
        """Publish the event, with one id for all tries so that it is stored once.

        Return its sequence.
        """
        event_id, failures = str(uuid4()), 0
        while True:
            retrying.raise_if_cancelled()
            try:
                return await self._publish(event, event_id)
            except Unavailable as error:
                failures += 1
                log.warning("execution_log.append_retried", extra={"error": str(error)})
                await _back_off(failures)
            except WrongSequence:
                # After a failure without a confirmation, the last event may be this one.
                if failures and (sequence := await self._sequence_if_last(event)):
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

    async def _sequence_if_last(self, event: AnyEvent) -> int | None:
        """Return the event's sequence if the log ends with it, otherwise ``None``."""
        failures = 0
        while True:
            try:
                messages = await _read(self._client, event.execution)
            except Unavailable:
                failures += 1
                await _back_off(failures)
                continue
            last = messages[-1] if messages else None
            return last.sequence if last is not None and last.body == event.body() else None


async def claim(client: Client, owner: str, request: Request) -> ExecutionLog:
    """Begin the log of a requested execution as its first owner.

    Raises `WrongSequence` where the log exists, and `Unavailable`.
    """
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
    metrics.count_event(event)
    return ExecutionLog(client, owner, state, epoch=1, sequence=sequence)


async def take_over(
    client: Client, owner: str, execution: str, *, epoch: int
) -> ExecutionLog | None:
    """Claim an execution whose last claim has this epoch.

    Return ``None`` where the execution has ended or was claimed again. An execution whose log
    cannot be read is ended with the reason, and `Unreadable` raised. Raises `WrongSequence` and
    `Unavailable`.
    """
    messages = await _read(client, execution)
    events = [event for message in messages if (event := _parse(message)) is not None]
    if not messages or any(isinstance(event, Succeeded | Failed | Refused) for event in events):
        return None
    state = replay(events)
    state.execution = execution
    last = messages[-1].sequence
    execution_log = ExecutionLog(client, owner, state, epoch=epoch + 1, sequence=last)
    if state.ended or state.length != len(messages) or state.request is None:
        reason = state.error or f"the log of {execution} has gaps"
        await execution_log.append(partial(Failed, node="", error=reason))
        raise Unreadable(reason)
    if state.epoch != epoch:
        return None
    await execution_log.append(partial(Owned))
    return execution_log


def _parse(message: bus.StoredMessage) -> AnyEvent | None:
    """Return the event in a message; ``None`` where it is no event at all."""
    try:
        return parse_event(message.body)
    except ValidationError:
        return None


async def _read(client: Client, execution: str) -> list[bus.StoredMessage]:
    """Read all messages of the log. Raises `Unavailable`."""
    subject = subjects.events(execution)
    try:
        return await bus.read_all(client, subjects.EXECUTION_EVENTS, subject)
    except bus.BrokenSubscription as error:
        raise Unavailable(str(error)) from error


async def _back_off(failures: int) -> None:
    pause = retrying.backoff_seconds(
        failures, first=_FIRST_RETRY_SECONDS, longest=_LONGEST_RETRY_SECONDS
    )
    await asyncio.sleep(pause)
