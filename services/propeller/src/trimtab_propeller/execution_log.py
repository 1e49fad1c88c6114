"""The execution log: the subject of one execution in EXECUTION_EVENTS, appended to by its owner.

Every append is a compare-and-set on the subject's last sequence, so that an owner whose execution
was taken over cannot append any more.
"""

import asyncio
import logging
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple
from uuid import uuid4

from nats.aio.client import Client

from trimtab.errors import Rejected, Unavailable
from trimtab.messages import subjects
from trimtab.messages.executions import (
    AnyEvent,
    Failed,
    Owned,
    Request,
    State,
    UnknownEvent,
    logged_event,
    replay,
)
from trimtab.messages.resolutions import Resolution
from trimtab.runtime import bus, retrying
from trimtab.runtime.bus import WrongSequence
from trimtab_propeller import metrics, progress

log = logging.getLogger(__name__)

MAX_EVENTS = 300_000
"""The events after which an execution is given up. A workflow of 5,000 nodes may have 15 attempts
of each, with four events each: one waits, starts, runs and ends."""
MAX_BYTES = 256 * 2**20
"""The size after which it is given up, which so many ordinary events do not have. It is a quarter
of EXECUTION_EVENTS, so that no execution fills the stream for the others."""
_HEADERS_BYTES = 4096
"""Room for the headers of a message."""
_STORED_BYTES = 500
"""The bytes of an event in the stream in addition to its body: its headers and its subject."""
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
        size: int = 0,
        problem: str = "",
        taken: Container[int] = (),
    ) -> None:
        """``sequence`` is that of the last event in EXECUTION_EVENTS, ``size`` the bytes of all.

        ``taken`` are the indexes behind a gap that the log has: an event with one of them would not
        count.
        """
        self.state = state
        self.problem = problem
        """Why the log cannot be continued, so that the execution has to be ended. Otherwise empty.
        """
        self._client = client
        self.owner, self.location = claimer
        self._epoch = epoch
        self._sequence = sequence
        self._taken = taken
        self._size = size
        self._lock = asyncio.Lock()
        self.full = asyncio.Event()
        """Set once the log is so long that its execution must be ended. Events can be appended, so
        that this is possible."""
        self._check_full()

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
            event, self._sequence = await self._append_behind_others(make_event)
            self.state.apply(event)
            self._size += len(event.body()) + _STORED_BYTES
            self._check_full()
            metrics.count_event(event)

    def _check_full(self) -> None:
        if self.state.length >= MAX_EVENTS or self._size >= MAX_BYTES:
            self.full.set()

    @property
    def length_problem(self) -> str:
        """Why the execution must be ended once the log is full."""
        return (
            f"the log of the execution has {self.state.length} events of {self._size} bytes; "
            f"at most {MAX_EVENTS} events and {MAX_BYTES} bytes are allowed"
        )

    async def _append_behind_others(
        self, make_event: Callable[..., AnyEvent]
    ) -> tuple[AnyEvent, int]:
        """Append an event behind everything that the claim allows; return it and its sequence."""
        while True:
            event = make_event(
                execution=self.state.execution,
                index=self._next_index(),
                owner=self.owner,
                epoch=self._epoch,
                at=datetime.now(UTC),
            )
            _check_size(self._client, event)
            try:
                return event, await self._store(event)
            except WrongSequence:
                if not await self._skip_others():
                    raise

    def _next_index(self) -> int:
        """Return the first index that the log does not have."""
        index = self.state.length
        while index in self._taken:
            index += 1
        return index

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
                # After a failure without a confirmation, the log may have this event.
                if failures and (sequence := await self._sequence_of(event)):
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

    async def _sequence_of(self, event: AnyEvent) -> int | None:
        """Return the event's sequence if the log has it, otherwise ``None``."""
        newer, body = await self._newer(), event.body()
        return next((message.sequence for message in newer if message.body == body), None)

    async def _skip_others(self) -> bool:
        """Skip messages that leave the claim valid, and return whether there were only such ones.

        They are foreign, or events that a later release appended under this claim.
        """
        newer = await self._newer()
        for message in newer:
            event = logged_event(message.subject, message.body)
            if event is not None and event.index >= self._next_index():
                is_ours = (event.owner, event.epoch) == (self.owner, self._epoch)
                if not is_ours or event.ends or not isinstance(event, UnknownEvent):
                    return False
                self.state.apply(event)
            self._sequence = message.sequence
        return bool(newer)

    async def _newer(self) -> list[bus.StoredMessage]:
        """Return the messages behind the last event that this log knows."""
        failures = 0
        while True:
            try:
                messages = await _read(self._client, self.state.execution)
            except Unavailable:
                failures += 1
                await _back_off(failures)
            else:
                return [message for message in messages if message.sequence > self._sequence]

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
    if not events or any(event.ends for event in events):
        return None
    state = replay(events)
    problem = ""
    if state.ended or state.length != len(events) or state.request is None:
        problem = state.error or f"the log of {execution} has gaps"
        # What comes after the gap may be an attempt that was started, and must be stopped.
        length, state = state.length, _replay_readable(events)
        state.length = length
    elif state.epoch != epoch:
        return None
    state.execution = execution
    if elsewhere := progress.started_elsewhere(state, claimer.location):
        raise OutOfSight(elsewhere)
    last = messages[-1].sequence
    execution_log = ExecutionLog(
        client,
        claimer,
        state,
        epoch=epoch + 1,
        sequence=last,
        size=sum(len(message.body) + _STORED_BYTES for message in messages),
        problem=problem,
        taken={event.index for event in events if problem},
    )
    if not problem:
        await execution_log.append(partial(Owned, location=claimer.location))
    return execution_log


async def last_event(client: Client, execution: str) -> AnyEvent | None:
    """Return the event that ends a log, or its last one; ``None`` where it has none.

    Raises `Unavailable`.
    """
    events = _events(await _read(client, execution))
    return next((event for event in events if event.ends), events[-1]) if events else None


def _events(messages: Iterable[bus.StoredMessage]) -> list[AnyEvent]:
    """Return the events in the messages of a log, without foreign messages.

    A message with the index of an earlier one is foreign too: no owner could append it.
    """
    events: dict[int, AnyEvent] = {}
    for message in messages:
        event = logged_event(message.subject, message.body)
        if event is not None:
            events.setdefault(event.index, event)
    return list(events.values())


def _replay_readable(events: Iterable[AnyEvent]) -> State:
    """Return the state after all events that can be read, in spite of gaps."""
    state = State()
    for event in events:
        state.apply(event)
    return state


async def _begin(client: Client, event: AnyEvent) -> int:
    """Append the first event of a log, behind any foreign messages, and return its sequence."""
    last = 0
    while True:
        try:
            return await bus.publish(
                client,
                subjects.EXECUTION_EVENTS,
                subjects.events(event.execution),
                event,
                last_subject_sequence=last,
            )
        except WrongSequence:
            messages = await _read(client, event.execution)
            if not messages or messages[-1].sequence <= last or _events(messages):
                raise
            last = messages[-1].sequence


def _check_size(client: Client, event: AnyEvent) -> None:
    """Raise `Rejected` where an event is larger than a message of NATS may be."""
    size = len(event.body())
    if size + _HEADERS_BYTES > client.max_payload:
        raise Rejected(f"{event.event_type} has {size} bytes, more than a message of NATS can hold")


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
