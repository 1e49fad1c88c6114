"""Follows executions: their changes as server-sent events, from where a client left off.

The changes are the events of the log that the projection has stored, whichever admin stored them. A
hint of that admin makes a stream read at once; without hints it reads every few seconds.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from trimtab.api.executions import ExecutionChangeBody, ExecutionEndBody, NodeBody
from trimtab.errors import Code, Invalid, NotFound, Retryable
from trimtab.messages.executions import ENDED, AnyEvent, Phase, State, node_of, parse_event
from trimtab_admin.access.authorization import Caller
from trimtab_admin.access.throttling import Throttled
from trimtab_admin.storage import tables, visibility
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.visibility import visible_to

_HEARTBEAT_SECONDS = 15.0
_POLL_SECONDS = 5.0
"""The delay until a change is read whose hint was lost."""
_BATCH = 200
MAX_STREAMS = 20
"""The most streams of one caller; a client needs one for each execution that it waits for."""

_ROW = tables.executions.c
_EVENT = tables.execution_events.c


class TooManyStreams(Throttled):
    """The caller follows as many executions as it may."""

    code = Code.THROTTLED

    def __init__(self) -> None:
        message = f"at most {MAX_STREAMS} executions can be followed at once by one caller"
        Retryable.__init__(self, message, delay_seconds=5)


@dataclass(frozen=True)
class Followed:
    """An execution as far as it is needed to describe its changes."""

    id: str
    tasks: Mapping[str, str]
    """The task of each node."""


class ExecutionStreams:
    """Serves the streams of this admin."""

    def __init__(
        self,
        reading: Sessions,
        *,
        heartbeat_seconds: float = _HEARTBEAT_SECONDS,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        self._reading = reading
        self._heartbeat_seconds = heartbeat_seconds
        self._poll_seconds = min(poll_seconds, heartbeat_seconds)
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._streams: Counter[Caller] = Counter()
        self._is_stopped = False

    def wake(self, execution: str) -> None:
        """Make the streams of an execution read, because an event of it was stored."""
        for event in self._waiting.get(execution, ()):
            event.set()

    def stop(self) -> None:
        """End every stream; a client resumes at another replica, or here after a restart."""
        self._is_stopped = True
        for execution in self._waiting:
            self.wake(execution)

    async def find(self, execution: str, caller: Caller) -> Followed:
        """Raises `NotFound`, also for an execution that the caller may not see."""
        is_visible = visible_to(caller, visibility.EXECUTIONS)
        query = sa.select(_ROW.request).where(_ROW.id == execution, is_visible)
        async with transaction(self._reading) as session:
            request = await session.scalar(query)
        if request is None:
            raise NotFound("execution", execution)
        return Followed(execution, _tasks(request))

    async def start(self, execution: str, after: int | None) -> int:
        """Return the index of the first event to send to a client that has those up to ``after``.

        Raises `Invalid` where the log has no such event.
        """
        if after is None:
            return 0
        last = sa.select(sa.func.max(_EVENT.index)).where(_EVENT.execution == execution)
        async with transaction(self._reading) as session:
            found = await session.scalar(last)
            phase = await session.scalar(sa.select(_ROW.phase).where(_ROW.id == execution))
        # The log of an execution that ended long ago is deleted.
        if phase not in ENDED and after > (-1 if found is None else found):
            raise Invalid("since", after, "the index of an event of this execution")
        return after + 1

    def check_room(self, caller: Caller) -> None:
        """Raises `TooManyStreams`."""
        if self._streams[caller] >= MAX_STREAMS:
            raise TooManyStreams

    async def events(
        self,
        followed: Followed,
        start: int,
        caller: Caller,
        is_allowed: Callable[[], Awaitable[bool]],
    ) -> AsyncIterator[str]:
        """Yield every change from an index on until the execution has ended.

        Yield nothing where others of the caller began between `check_room` and this stream.
        """
        if self._streams[caller] >= MAX_STREAMS:
            return
        stored = asyncio.Event()
        self._waiting.setdefault(followed.id, set()).add(stored)
        self._streams[caller] += 1
        try:
            # The response begins with it, so that a client knows at once that it is connected.
            yield ": following\n\n"
            async for text in self._events(followed, start, stored, is_allowed):
                yield text
        finally:
            self._streams[caller] -= 1
            self._waiting[followed.id].discard(stored)
            if not self._waiting[followed.id]:
                del self._waiting[followed.id]

    async def _events(
        self,
        followed: Followed,
        start: int,
        stored: asyncio.Event,
        is_allowed: Callable[[], Awaitable[bool]],
    ) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        index, last_sent = start, loop.time()
        while not self._is_stopped and await is_allowed():
            stored.clear()
            end, events = await self._read(followed.id, index)
            for event in events:
                yield _change_text(event, followed.tasks)
            index += len(events)
            if not events and end is not None:
                yield f"event: ended\ndata: {end.model_dump_json()}\n\n"
                return
            if events:
                last_sent = loop.time()
            elif loop.time() - last_sent >= self._heartbeat_seconds:
                last_sent = loop.time()
                yield ": heartbeat\n\n"
            if not events:
                await self._wait(stored)

    async def _read(
        self, execution: str, index: int
    ) -> tuple[ExecutionEndBody | None, Sequence[AnyEvent]]:
        """Return how the execution ended, ``None`` if it has not, and its events from an index."""
        row = sa.select(_ROW.phase, _ROW.error).where(_ROW.id == execution)
        query = sa.select(_EVENT.index, _EVENT.body).where(
            _EVENT.execution == execution, _EVENT.index >= index, _EVENT.index < index + _BATCH
        )
        async with transaction(self._reading) as session:
            phase, error = (await session.execute(row)).one()
            rows = (await session.execute(query.order_by(_EVENT.index))).all()
        events = [
            parse_event(body) for at, (number, body) in enumerate(rows) if number == index + at
        ]
        end = ExecutionEndBody(phase=phase, error=error) if phase in ENDED else None
        return end, events

    async def _wait(self, stored: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self._poll_seconds):
                await stored.wait()
        except TimeoutError:
            return


def _tasks(request: str) -> Mapping[str, str]:
    """Return the task of each node in a stored request; none of one of another release."""
    try:
        return {node["id"]: node["task"] for node in json.loads(request)["workflow"]["nodes"]}
    except (KeyError, TypeError):
        return {}


def change_of(event: AnyEvent, tasks: Mapping[str, str]) -> ExecutionChangeBody:
    """Return what an event changes: the phase of its execution, or the state of a node."""
    state = State()
    state.apply(event)
    node, body, phase = node_of(event), None, _changed_phase(state)
    if node is not None:
        reached = state.nodes[node]
        body = NodeBody(
            task=tasks.get(node, ""),
            phase=reached.phase,
            attempt=reached.attempt,
            reason=reached.reason,
            output=reached.output,
        )
    return ExecutionChangeBody(
        index=event.index,
        type=event.type,
        at=event.at,
        phase=phase,
        error=state.error,
        node=node or "",
        state=body,
    )


def _changed_phase(state: State) -> Phase | None:
    return None if state.phase == "requested" else state.phase


def _change_text(event: AnyEvent, tasks: Mapping[str, str]) -> str:
    body = change_of(event, tasks).model_dump_json()
    return f"id: {event.index}\nevent: change\ndata: {body}\n\n"
