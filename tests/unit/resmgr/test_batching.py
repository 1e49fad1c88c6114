"""Callers of one tick share one call, and each gets its own answer."""

import asyncio
from collections.abc import Sequence

import pytest

from trimtab.errors import Unavailable
from trimtab_resmgr import batching
from trimtab_resmgr.batching import Batches


class Doubling:
    """A server that is slow while its gate is closed, and that remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.error: Exception = Unavailable("away")
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, asks: Sequence[int]) -> list[int]:
        self.calls.append(list(asks))
        await self.gate.wait()
        if -1 in asks:
            raise self.error
        return [2 * ask for ask in asks]


async def test_callers_of_one_tick_share_a_call_and_get_their_own_answers() -> None:
    server = Doubling()
    async with asyncio.TaskGroup() as tasks:
        batches = Batches(tasks, server.send)
        answers = await asyncio.gather(*(batches.ask(number) for number in range(5)))
    assert answers == [[0], [2], [4], [6], [8]]
    assert server.calls == [[0, 1, 2, 3, 4]]


async def test_a_large_batch_is_sent_in_parts() -> None:
    server = Doubling()
    async with asyncio.TaskGroup() as tasks:
        batches = Batches(tasks, server.send)
        await asyncio.gather(*(batches.ask(number) for number in range(batching.MOST + 1)))
    assert [len(call) for call in server.calls] == [batching.MOST, 1]


async def test_what_one_caller_asks_together_is_answered_together_and_in_one_call() -> None:
    server = Doubling()
    async with asyncio.TaskGroup() as tasks:
        batches = Batches(tasks, server.send)
        few, many = batches.ask(1, 2), batches.ask(*range(batching.MOST))
    assert few.result() == [2, 4]
    assert many.result() == [2 * number for number in range(batching.MOST)]
    assert [len(call) for call in server.calls] == [2, batching.MOST]


async def test_what_is_asked_while_all_calls_are_away_gathers_for_the_next() -> None:
    server = Doubling()
    server.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        batches = Batches(tasks, server.send)
        for number in range(batching.IN_FLIGHT + 3):
            batches.ask(number)
            await asyncio.sleep(0.001)
        assert len(server.calls) == batching.IN_FLIGHT
        server.gate.set()
    assert [len(call) for call in server.calls] == [1] * batching.IN_FLIGHT + [3]


@pytest.mark.parametrize("error", [Unavailable("away"), ZeroDivisionError("away")])
async def test_a_call_that_fails_fails_for_its_callers_only(error: Exception) -> None:
    server = Doubling()
    server.error = error
    async with asyncio.TaskGroup() as tasks:
        batches = Batches(tasks, server.send)
        failed = await asyncio.gather(batches.ask(-1), batches.ask(1), return_exceptions=True)
        assert failed == [error, error]
        assert await batches.ask(2) == [4]


async def test_a_caller_that_gives_up_takes_nobody_with_it() -> None:
    server = Doubling()
    server.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        batches = Batches(tasks, server.send)
        first, second = (batches.ask(number) for number in (1, 2))
        await asyncio.sleep(0.001)
        first.cancel()
        server.gate.set()
        assert await second == [4]
    with pytest.raises(asyncio.CancelledError):
        await first
