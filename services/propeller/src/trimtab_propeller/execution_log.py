"""The execution log: the subject of one execution in EXECUTION_EVENTS, appended to by its owner.

Every append is a compare-and-set on the subject's last sequence, so that an owner whose execution
was taken over cannot append any more.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple
from uuid import uuid4

from nats.aio.client import Client
from pydantic import ValidationError

from trimtab.errors import Rejected, Unavailable
from trimtab.messages import subjects
from trimtab.messages.executions import (
    AnyEvent,
    Failed,
    Owned,
    Refused,
    Request,
    State,
    Succeeded,
    parse_event,
    replay,
)
from trimtab.messages.resolutions import Resolution
from trimtab.runtime import bus, retrying
from trimtab.runtime.bus import WrongSequence
from trimtab_propeller import metrics, plan

log = logging.getLogger(__name__)

_HEADERS_BYTES = 4096
"""Room for the headers of a message."""
_FIRST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 2.0


class Claimer(NamedTuple):
    """A propeller that claims executions."""

    owner: str
    location: str
    """The location whose attempts it can see."""


class OutOfSight(Rejected):
    """An execution has attempts that may be running where this propeller cannot see them."""

    def __init__(self, locations: list[str]) -> None:
        super().__init__(f"attempts may be running at {', '.join(locations)}")
        self.locations = locations


class ExecutionLog:
    """The log of one execution under one claim: its state, and the right to append to it."""

    def __init__(
        self,
        client: Client,
        claimer: Claimer,
        state: State,
        *,
        epoch: int,
        sequence: int,
        problem: str = "",
    ) -> None:
        """``sequence`` is that of the last event in EXECUTION_EVENTS."""
        self.state = state
        self.problem = problem
        """Why the log cannot be continued, so that the execution has to be ended. Otherwise empty.
        """
        self._client = client
        self.owner, self.location = claimer
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

        A caller that is cancelled does not cancel the append: whether it was stored would not be
        known, and the next append would take itself for one of a stale owner.
        """
        await asyncio.shield(asyncio.ensure_future(self._append(make_event)))

    async def _append(self, make_event: Callable[..., AnyEvent]) -> None:
        async with self._lock:
            event = make_event(
                execution=self.state.execution,
                index=self.state.length,
                owner=self.owner,
                epoch=self._epoch,
                at=datetime.now(UTC),
            )
            _check_size(self._client, event)
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

    async def read(self) -> State:
        """Read the log again, because another owner may have appended. Return the state it gives.

        It is empty where the log is lost. Retries while the server is unavailable.
        """
        failures = 0
        while True:
            retrying.raise_if_cancelled()
            try:
                messages = await _read(self._client, self.state.execution)
            except Unavailable as error:
                failures += 1
                log.warning("execution_log.read_retried", extra={"error": str(error)})
                await _back_off(failures)
            else:
                return _replay_readable(_events(messages))


async def claim(client: Client, claimer: Claimer, request: Request) -> ExecutionLog:
    """Begin the log of a requested execution as its first owner.

    Raises `WrongSequence` where the log exists, `Rejected` where the request is too large, and
    `Unavailable`.
    """
    state = State(execution=request.execution)
    event = Owned(
        execution=request.execution,
        index=0,
        owner=claimer.owner,
        epoch=1,
        at=datetime.now(UTC),
        request=request,
        location=claimer.location,
    )
    _check_size(client, event)
    sequence = await _begin(client, event)
    state.apply(event)
    metrics.count_event(event)
    return ExecutionLog(client, claimer, state, epoch=1, sequence=sequence)


async def fail_unclaimed(client: Client, claimer: Claimer, execution: str, reason: str) -> None:
    """End an execution that no propeller can claim, unless it has a log. Raises `Unavailable`."""
    event = Failed(
        execution=execution,
        index=0,
        owner=claimer.owner,
        epoch=1,
        at=datetime.now(UTC),
        node="",
        error=reason,
    )
    with suppress(WrongSequence):
        await _begin(client, event)
        metrics.count_event(event)


async def take_over(
    client: Client, claimer: Claimer, execution: str, *, epoch: int
) -> ExecutionLog | None:
    """Claim an execution whose last claim has this epoch.

    Return ``None`` where the execution has ended or was claimed again. A log that cannot be read is
    returned with the `ExecutionLog.problem`, and without a claim. Raises `OutOfSight`,
    `WrongSequence` and `Unavailable`.
    """
    messages = await _read(client, execution)
    events = _events(messages)
    if not messages or any(isinstance(event, Succeeded | Failed | Refused) for event in events):
        return None
    state = replay(events)
    problem = ""
    if state.ended or state.length != len(messages) or state.request is None:
        problem = state.error or f"the log of {execution} has gaps"
        # What comes after the gap may be an attempt that was started, and must be stopped.
        length, state = state.length, _replay_readable(events)
        state.length = length
    elif state.epoch != epoch:
        return None
    state.execution = execution
    if elsewhere := plan.started_elsewhere(state, claimer.location):
        raise OutOfSight(elsewhere)
    last = messages[-1].sequence
    execution_log = ExecutionLog(
        client, claimer, state, epoch=epoch + 1, sequence=last, problem=problem
    )
    if not problem:
        await execution_log.append(partial(Owned, location=claimer.location))
    return execution_log


def _events(messages: Iterable[bus.StoredMessage]) -> list[AnyEvent]:
    """Return the events in the messages of a log, without those that are no event at all."""
    return [event for message in messages if (event := _parse(message)) is not None]


def _replay_readable(events: Iterable[AnyEvent]) -> State:
    """Return the state after all events that can be read, in spite of gaps."""
    state = State()
    for event in events:
        state.apply(event)
    return state


async def _begin(client: Client, event: AnyEvent) -> int:
    """Append the first event of a log, and return its sequence."""
    return await bus.publish(
        client,
        subjects.EXECUTION_EVENTS,
        subjects.events(event.execution),
        event,
        last_subject_sequence=0,
    )


def _check_size(client: Client, event: AnyEvent) -> None:
    """Raise `Rejected` where an event is larger than a message of NATS may be."""
    size = len(event.body())
    if size + _HEADERS_BYTES > client.max_payload:
        raise Rejected(f"{event.event_type} has {size} bytes, more than a message of NATS can hold")


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
