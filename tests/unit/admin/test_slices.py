"""Slices of long work: what runs between them."""

import asyncio

from tests.servers import PATIENCE_SECONDS
from trimtab_admin import slices


def test_items_come_in_order_and_no_slice_has_more_than_it_may() -> None:
    async def lists() -> list[list[int]]:
        return [part async for part in slices.of(range(10), 4)]

    assert asyncio.run(lists()) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_short_call_runs_after_each_slice_however_many_tasks_have_long_work() -> None:
    ran: list[str] = []

    async def long_work(name: str) -> None:
        async for _ in slices.of(range(20), 1):
            ran.append(name)

    async def short_call() -> None:
        while len(ran) < 100:
            ran.append("short")
            await asyncio.sleep(0)

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(50):
                tasks.create_task(long_work(f"long {number}"))
            tasks.create_task(short_call())

    asyncio.run(run())
    order = "".join("s" if name == "short" else "l" for name in ran[:100])
    assert "ll" not in order[order.index("s") :]
    # The first slice of all does not wait; then the tasks take turns.
    turns = [name for name in ran if name != "short"][1:51]
    assert len(set(turns)) == 50


def test_a_task_that_is_cancelled_while_it_waits_leaves_the_turns_to_the_others() -> None:
    async def run() -> None:
        async def work() -> None:
            async for _ in slices.of(range(3), 1):
                pass

        tasks = [asyncio.create_task(work()) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.wait_for(asyncio.gather(tasks[0], tasks[2]), PATIENCE_SECONDS)

    asyncio.run(run())
