"""Many callers, one call: what is asked within one tick of the event loop is sent together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")

MOST = 500
"""Requests of one call: some milliseconds of the server, in which it serves nobody else. Only one
who asks for more at once has more."""
IN_FLIGHT = 2
"""Calls at once: one is worked on while the other travels. What is asked then gathers for the
next, so the busier it is, the larger and cheaper the calls are."""


class _Caller(NamedTuple, Generic[Ask, Answer]):
    asks: Sequence[Ask]
    answers: asyncio.Future[Sequence[Answer]]


class Batches(Generic[Ask, Answer]):
    """Sends for callers who come with some requests each."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        send: Callable[[Sequence[Ask]], Awaitable[Sequence[Answer]]],
    ) -> None:
        """``send`` returns an answer for each ask, in order."""
        self._tasks = tasks
        self._send = send
        self._waiting: list[_Caller[Ask, Answer]] = []
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    def ask(self, *asks: Ask) -> asyncio.Future[Sequence[Answer]]:
        """Raises what ``send`` raised for the batch. A future: a coroutine would cost a task."""
        answers: asyncio.Future[Sequence[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Caller(asks, answers))
        if len(self._waiting) == 1:
            # The task begins in the next tick, when everybody of this one has come.
            self._tasks.create_task(self._send_waiting())
        return answers

    async def _send_waiting(self) -> None:
        async with self._slots:
            waiting, self._waiting = self._waiting, []
            part: list[_Caller[Ask, Answer]] = []
            size = 0
            for caller in waiting:
                if part and size + len(caller.asks) > MOST:
                    await self._send_part(part)
                    part, size = [], 0
                part.append(caller)
                size += len(caller.asks)
            await self._send_part(part)

    async def _send_part(self, part: Sequence[_Caller[Ask, Answer]]) -> None:
        try:
            answers = await self._send([ask for caller in part for ask in caller.asks])
        except Exception as error:  # noqa: BLE001  # each caller gets it, and none of us ends
            for caller in part:
                if not caller.answers.done():  # it is, where the caller was cancelled
                    caller.answers.set_exception(error)
            return
        first = 0
        for caller in part:
            after = first + len(caller.asks)
            if not caller.answers.done():
                caller.answers.set_result(answers[first:after])
            first = after
