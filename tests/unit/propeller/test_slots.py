"""Slots: how many attempts of an execution run at once."""

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
