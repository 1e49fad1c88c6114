"""A burst costs few renders, and nothing that was marked is forgotten."""

import asyncio

from trimtab_clusterres.dirty import Dirty, Work
from trimtab_clusterres.namespaces import Place

A, B = Place("east", "a"), Place("east", "b")


async def taken(dirty: Dirty) -> Work:
    async with asyncio.timeout(30):
        return await dirty.take()


def waits(dirty: Dirty) -> bool:
    """Whether nothing can be taken now."""
    taking = dirty.take()
    try:
        taking.send(None)
    except StopIteration:
        return False
    finally:
        taking.close()
    return True


async def test_marks_of_one_namespace_are_one_piece_of_work() -> None:
    dirty = Dirty()
    dirty.mark([A], "first")
    dirty.mark([Place("west", "a")])
    dirty.mark([A], "newest")
    assert await taken(dirty) == Work("a", {"east", "west"}, "newest")
    assert waits(dirty)


async def test_namespaces_come_in_the_order_in_which_they_were_marked() -> None:
    dirty = Dirty()
    for place in (A, B, A):
        dirty.mark([place])
    assert [(await taken(dirty)).namespace for _ in range(2)] == ["a", "b"]


async def test_a_namespace_is_worked_on_by_one_at_a_time() -> None:
    dirty = Dirty()
    dirty.mark([A])
    work = await taken(dirty)
    dirty.mark([A, B])
    assert (await taken(dirty)).namespace == "b"
    assert waits(dirty)
    dirty.done(work)
    assert (await taken(dirty)).namespace == "a"


async def test_a_burst_is_worked_on_ever_more_rarely() -> None:
    dirty = Dirty()
    works = 0
    dirty.mark([A])
    async with asyncio.timeout(30):
        while works < 5:
            work = await dirty.take()
            works += 1
            dirty.mark([A])  # as if a change came during each
            started = asyncio.get_running_loop().time()
            dirty.done(work)
            assert waits(dirty)
    await taken(dirty)
    assert asyncio.get_running_loop().time() - started > 0.1


async def test_after_a_quiet_while_a_change_is_taken_at_once() -> None:
    dirty = Dirty()
    dirty.mark([A])
    dirty.done(await taken(dirty))
    dirty.mark([A])
    assert not waits(dirty)


async def test_a_failure_is_marked_again_after_a_growing_while() -> None:
    dirty = Dirty(retry_seconds=0.01, longest_retry_seconds=0.05)
    delays = []
    for _ in range(4):
        delays.append(dirty.failed(A))
        work = await taken(dirty)
        assert work == Work("a", {"east"}, "")
        dirty.done(work)
    assert delays == [0.01, 0.02, 0.04, 0.05]
    dirty.succeeded(A)
    assert dirty.failed(A) == 0.01


async def test_success_by_another_way_calls_the_retry_off() -> None:
    dirty = Dirty(retry_seconds=0.01)
    dirty.failed(A)
    dirty.failed(B)
    dirty.succeeded(A)
    assert (await taken(dirty)).namespace == "b"
    assert waits(dirty)
