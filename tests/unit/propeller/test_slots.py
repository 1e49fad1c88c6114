"""Slots: how many attempts of an execution run at once."""

import asyncio

from tests.unit.propeller.building import request
from trimtab.messages.resolutions import Resolution, ResolvedValue
from trimtab.workflows.graphs.launch_plans import PlanCall
from trimtab_propeller.slots import Slots, of_parts


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


def test_an_attempt_needs_a_slot_of_its_part_and_of_each_part_around_it() -> None:
    outer = Slots(2)
    inner = Slots(1, outer)
    inner.take("a")
    assert outer.has_room_for("b")
    assert not inner.has_room_for("b")
    outer.take("b")
    inner.release("a")
    outer.take("c")
    assert not inner.has_room_for("d")
    outer.release("b")
    assert inner.has_room_for("d")


def test_parts_beside_each_other_count_their_own_attempts() -> None:
    outer = Slots(3)
    left, right = Slots(1, outer), Slots(1, outer)
    left.take("a")
    assert right.has_room_for("b")
    right.take("b")
    assert outer.has_room_for("c")
    assert not left.has_room_for("c")


async def test_a_waiter_of_a_full_part_is_passed_over_and_keeps_its_place() -> None:
    outer = Slots(2)
    inner = Slots(1, outer)
    inner.take("a")
    outer.take("b")
    tasks = [*await waiting(inner, 2), *await waiting(outer, 2)]
    outer.release("b")
    assert await done(tasks) == [False, False, True, False]
    outer.take("c")
    inner.release("a")
    assert await done(tasks) == [True, False, True, False]
    for task in tasks:
        task.cancel()


async def test_of_one_part_no_more_are_woken_than_it_has_slots() -> None:
    outer = Slots(2)
    inner = Slots(1, outer)
    outer.take("a")
    outer.take("b")
    tasks = [*await waiting(inner, 2), *await waiting(outer, 1)]
    outer.release("a")
    assert await done(tasks) == [True, False, False]
    inner.take("c")
    outer.release("b")
    assert await done(tasks) == [True, False, True]
    inner.release("c")
    assert await done(tasks) == [True, True, True]


async def test_a_cancelled_waiter_leaves_its_place_to_the_next_one_of_its_part() -> None:
    outer = Slots(1)
    inner = Slots(1, outer)
    outer.take("a")
    tasks = await waiting(inner, 2)
    tasks[0].cancel()
    outer.release("a")
    assert await done(tasks) == [True, True]


async def test_a_waiter_that_has_no_room_after_all_leaves_its_slot_to_one_of_another_part() -> None:
    outer = Slots(1)
    inner = Slots(1, outer)
    outer.take("a")
    [first] = await waiting(inner, 1)
    [other] = await waiting(outer, 1)
    outer.release("a")
    outer.take("adopted")
    inner.take("adopted")
    assert await done([first, other]) == [True, False]
    outer._taken.discard("adopted")  # it is still in the inner part only
    await waiting(inner, 1)
    assert await done([other]) == [True]


def test_slots_of_parts_have_the_limits_of_the_resolution() -> None:
    def limit(number: int) -> tuple[ResolvedValue, ...]:
        return (ResolvedValue(path="max_parallelism", value=number, source="launch plan"),)

    resolution = Resolution(
        revision=1, executor="any", execution=limit(3), plans={"n0": limit(1), "n1": ()}, nodes={}
    )
    call = PlanCall(project="lab", domain="production", workflow="train", launch_plan="weekly")
    nested = call.model_copy(update={"parent": "n0"})
    slots = of_parts(resolution, {"n0": call, "n0/n0": nested, "n1": call})
    slots["n0/n0"].take("a")
    assert not slots["n0"].has_room_for("b")
    slots["n1"].take("b")
    slots["n1"].take("c")
    assert not slots[""].has_room_for("d")
    assert list(of_parts(resolution, request().workflow.plans)) == [""]
