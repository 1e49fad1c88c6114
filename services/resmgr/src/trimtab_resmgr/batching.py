"""Many callers, one call: what is asked within one tick of the event loop is sent together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")

MOST = 500
"""Requests of one call: some milliseconds of the server, in which it serves nobody else."""
IN_FLIGHT = 2
"""Calls at once: one is worked on while the other travels. What is asked then gathers for the
next, so the busier it is, the larger and cheaper the calls are."""


class Batches(Generic[Ask, Answer]):
    """Sends for callers who come one by one."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        send: Callable[[Sequence[Ask]], Awaitable[Sequence[Answer]]],
    ) -> None:
        """``send`` returns an answer for each ask, in order."""
        self._tasks = tasks
        self._send = send
        self._waiting: list[tuple[Ask, asyncio.Future[Answer]]] = []
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    def ask(self, ask: Ask) -> asyncio.Future[Answer]:
        """Raises what ``send`` raised for the batch. A future: a coroutine would cost a task."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((ask, answer))
        if len(self._waiting) == 1:
            # The task begins in the next tick, when everybody of this one has come.
            self._tasks.create_task(self._send_waiting())
        return answer

    async def _send_waiting(self) -> None:
        async with self._slots:
            batch, self._waiting = self._waiting, []
            for first in range(0, len(batch), MOST):
                await self._send_part(batch[first : first + MOST])

    async def _send_part(self, part: Sequence[tuple[Ask, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._send([ask for ask, _ in part])
        except Exception as error:  # noqa: BLE001  # each caller gets it, and none of us ends
            for _, future in part:
                if not future.done():  # it is, where the caller was cancelled
                    future.set_exception(error)
            return
        for (_, future), answer in zip(part, answers, strict=True):
            if not future.done():
                future.set_result(answer)
