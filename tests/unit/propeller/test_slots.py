"""Slots: how many attempts of an execution run at once."""

import asyncio

from trimtab_propeller.slots import Slots


def test_there_are_as_many_slots_as_the_limit() -> None:
    slots = Slots(2)
    slots.take("a")
    assert slots.has_room_for("b")
    slots.take("b")
    assert not slots.has_room_for("c")
    slots.release("a")
    assert slots.has_room_for("c")


def test_without_a_limit_there_is_always_room() -> None:
    slots = Slots(None)
    for number in range(1000):
        slots.take(str(number))
    assert slots.has_room_for("one more")


def test_an_attempt_takes_one_slot_however_often_it_is_taken() -> None:
    slots = Slots(1)
    slots.take("a")
    slots.take("a")
    assert slots.has_room_for("a")
    slots.release("a")
    assert slots.has_room_for("b")


def test_adopted_attempts_take_slots_beyond_the_limit() -> None:
    slots = Slots(1)
    slots.take("a")
    slots.take("b")
    slots.release("a")
    assert not slots.has_room_for("c")


def test_releasing_a_slot_that_was_not_taken_changes_nothing() -> None:
    slots = Slots(1)
    slots.take("a")
    slots.release("b")
    assert not slots.has_room_for("c")


async def waiting(slots: Slots, count: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(slots.wait_for_room()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def done(tasks: list[asyncio.Task[None]]) -> list[bool]:
    for _ in range(3):
        await asyncio.sleep(0)
    return [task.done() for task in tasks]


async def test_a_released_slot_wakes_one_waiter_the_first() -> None:
    slots = Slots(1)
    slots.take("a")
    tasks = await waiting(slots, 3)
    slots.release("a")
    assert await done(tasks) == [True, False, False]
    slots.wake()
    assert await done(tasks) == [True, True, False]
    tasks[2].cancel()


async def test_a_waiter_that_is_cancelled_passes_the_slot_on() -> None:
    slots = Slots(1)
    slots.take("a")
    tasks = await waiting(slots, 3)
    tasks[0].cancel()
    assert await done(tasks) == [True, False, False]
    slots.release("a")
    tasks[1].cancel()  # it was woken, and has not run since
    assert await done(tasks) == [True, True, True]
