"""Requests of one tick share one call, and each caller gets its own replies."""

import asyncio
from collections.abc import Sequence

import pytest

from trimtab.errors import Unavailable
from trimtab_resmgr.scripts import MAX_BATCH, MAX_IN_FLIGHT, Batches


class DoublingServer:
    """A server that doubles numbers, hangs while its gate is closed, and records its calls."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.error: Exception = Unavailable("away")
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, requests: Sequence[int]) -> list[int]:
        self.calls.append(list(requests))
        await self.gate.wait()
        if -1 in requests:
            raise self.error
        return [2 * request for request in requests]


async def test_callers_of_one_tick_share_a_call_and_get_their_own_replies() -> None:
    server = DoublingServer()
    async with asyncio.TaskGroup() as tasks:
        batches = Batches(tasks, server.send)
        replies = await asyncio.gather(*(batches.submit(number) for number in range(5)))
    assert replies == [[0], [2], [4], [6], [8]]
    assert server.calls == [[0, 1, 2, 3, 4]]


async def test_a_large_batch_is_sent_in_several_calls() -> None:
    server = DoublingServer()
    async with asyncio.TaskGroup() as tasks:
        batches = Batches(tasks, server.send)
        await asyncio.gather(*(batches.submit(number) for number in range(MAX_BATCH + 1)))
    assert [len(call) for call in server.calls] == [MAX_BATCH, 1]


async def test_the_requests_of_one_submission_stay_in_one_call() -> None:
    server = DoublingServer()
    async with asyncio.TaskGroup() as tasks:
        batches = Batches(tasks, server.send)
        few, many = batches.submit(1, 2), batches.submit(*range(MAX_BATCH))
    assert few.result() == [2, 4]
    assert many.result() == [2 * number for number in range(MAX_BATCH)]
    assert [len(call) for call in server.calls] == [2, MAX_BATCH]


async def test_requests_during_the_largest_number_of_calls_form_the_next_one() -> None:
    server = DoublingServer()
    server.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        batches = Batches(tasks, server.send)
        for number in range(MAX_IN_FLIGHT + 3):
            batches.submit(number)
            await asyncio.sleep(0.001)
        assert len(server.calls) == MAX_IN_FLIGHT
        server.gate.set()
    assert [len(call) for call in server.calls] == [1] * MAX_IN_FLIGHT + [3]


@pytest.mark.parametrize("error", [Unavailable("away"), ZeroDivisionError("away")])
async def test_a_failing_call_fails_for_its_callers_only(error: Exception) -> None:
    server = DoublingServer()
    server.error = error
    async with asyncio.TaskGroup() as tasks:
        batches = Batches(tasks, server.send)
        failed = await asyncio.gather(batches.submit(-1), batches.submit(1), return_exceptions=True)
        assert failed == [error, error]
        assert await batches.submit(2) == [4]


async def test_a_cancelled_caller_does_not_fail_others() -> None:
    server = DoublingServer()
    server.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        batches = Batches(tasks, server.send)
        first, second = (batches.submit(number) for number in (1, 2))
        await asyncio.sleep(0.001)
        first.cancel()
        server.gate.set()
        assert await second == [4]
    with pytest.raises(asyncio.CancelledError):
        await first
