"""A burst of changes costs few renders, and no marked namespace is lost."""

import asyncio

import pytest

from tests.servers import PATIENCE_SECONDS
from trimtab_clusterres.queue import Item, Priority, WorkQueue


async def take(queue: WorkQueue) -> Item:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await queue.take()


def is_blocked(queue: WorkQueue) -> bool:
    """Whether no namespace can be taken now."""
    taking = queue.take()
    try:
        taking.send(None)
    except StopIteration:
        return False
    finally:
        taking.close()
    return True


async def test_several_marks_of_one_namespace_are_one_item() -> None:
    queue = WorkQueue()
    queue.mark(["a"], "first", 1.0)
    queue.mark(["a"])
    queue.mark(["a"], "newest", 2.0)
    assert queue.depth == 1
    assert await take(queue) == Item("a", "newest", 1.0)
    assert is_blocked(queue)


async def test_namespaces_are_taken_in_the_order_in_which_they_were_marked() -> None:
    queue = WorkQueue()
    for namespace in ("a", "b", "a"):
        queue.mark([namespace])
    assert [(await take(queue)).namespace for _ in range(2)] == ["a", "b"]


async def test_a_taken_namespace_is_not_handed_out_again_before_it_is_done() -> None:
    queue = WorkQueue()
    queue.mark(["a"])
    item = await take(queue)
    queue.mark(["a", "b"])
    assert (await take(queue)).namespace == "b"
    assert is_blocked(queue)
    queue.done(item)
    assert (await take(queue)).namespace == "a"


async def test_the_pause_grows_while_changes_come_in_a_burst() -> None:
    queue = WorkQueue()
    count = 0
    queue.mark(["a"])
    async with asyncio.timeout(PATIENCE_SECONDS):
        while count < 5:
            item = await queue.take()
            count += 1
            queue.mark(["a"])  # as if a change arrived during each render
            started = asyncio.get_running_loop().time()
            queue.done(item)
            assert is_blocked(queue)
    await take(queue)
    assert asyncio.get_running_loop().time() - started > 0.1


async def test_a_change_after_a_quiet_period_is_taken_at_once() -> None:
    queue = WorkQueue()
    queue.mark(["a"])
    queue.done(await take(queue))
    queue.mark(["a"])
    assert not is_blocked(queue)


async def test_a_failed_namespace_is_marked_again_with_a_growing_back_off() -> None:
    queue = WorkQueue(retry_seconds=0.01, longest_retry_seconds=0.05)
    delays = []
    for _ in range(4):
        delays.append(queue.failed("a"))
        assert queue.failing == 1
        item = await take(queue)
        assert item == Item("a", priority=Priority.RETRY)
        queue.done(item)
    # Half of each delay is random.
    for delay, full in zip(delays, [0.01, 0.02, 0.04, 0.05], strict=True):
        assert full / 2 <= delay <= full
    queue.succeeded("a")
    assert queue.failing == 0
    assert queue.failed("a") == pytest.approx(0.0075, abs=0.0025)


async def test_a_success_cancels_the_retry() -> None:
    queue = WorkQueue(retry_seconds=0.01)
    queue.failed("a")
    queue.failed("b")
    queue.succeeded("a")
    assert (await take(queue)).namespace == "b"
    assert is_blocked(queue)


async def test_a_retry_reports_the_delay_since_the_change_that_failed() -> None:
    queue = WorkQueue(retry_seconds=0.001)
    queue.mark(["a"], "trace", 5.0)
    item = await take(queue)
    queue.failed("a", item.changed_at)
    queue.done(item)
    assert await take(queue) == Item("a", "", 5.0, Priority.RETRY)


async def test_a_change_of_few_namespaces_goes_before_those_of_a_change_of_many() -> None:
    queue = WorkQueue()
    many = [f"many-{number}" for number in range(6000)]
    queue.mark(many)
    queue.mark(["few", many[-1]])
    assert [(await take(queue)).namespace for _ in range(3)] == ["few", many[-1], many[0]]
    assert queue.depth == 5998


async def test_every_priority_has_turns_while_more_urgent_ones_are_marked_all_the_time() -> None:
    queue = WorkQueue()
    taken = []
    for _ in range(60):
        for priority in Priority:
            queue.mark([f"{priority.name}-{n}" for n in range(20)], priority=priority)
        item = await take(queue)
        taken.append(item.priority)
        queue.done(item)
    for priority, share in zip(Priority, (0.3, 0.2, 0.2, 0.05), strict=True):
        assert taken.count(priority) / len(taken) >= share


async def test_two_priorities_have_turns_of_three_to_one() -> None:
    queue = WorkQueue()
    queue.mark([f"change-{number}" for number in range(9)])
    queue.mark([f"bulk-{number}" for number in range(30)])
    taken = [(await take(queue)).namespace for _ in range(12)]
    assert [name.startswith("bulk") for name in taken] == [False, False, False, True] * 3


async def test_a_marked_namespace_has_the_most_urgent_priority_of_its_marks() -> None:
    queue = WorkQueue()
    queue.mark(["a"], priority=Priority.CHECK, verify=True)
    queue.mark(["b"], priority=Priority.BULK)
    queue.mark(["a"], priority=Priority.CHANGE)
    queue.mark(["a"], priority=Priority.CHECK)
    assert await take(queue) == Item("a", verify=True)
    assert (await take(queue)).namespace == "b"
    assert is_blocked(queue)


async def test_a_taken_namespace_that_is_marked_twice_keeps_the_more_urgent_priority() -> None:
    queue = WorkQueue()
    queue.mark(["a"])
    item = await take(queue)
    queue.mark(["a"], priority=Priority.BULK)
    queue.mark(["a"], priority=Priority.CHANGE)
    queue.done(item)
    assert (await take(queue)).priority is Priority.CHANGE
