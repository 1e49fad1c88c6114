"""Places: how many nodes are at work at once."""

from trimtab_propeller.parallelism import Places


def test_there_are_as_many_places_as_the_limit_says() -> None:
    places = Places(2)
    places.take("a")
    assert places.has_room_for("b")
    places.take("b")
    assert not places.has_room_for("c")
    places.give_back("a")
    assert places.has_room_for("c")


def test_without_a_limit_there_is_always_room() -> None:
    places = Places(None)
    for number in range(1000):
        places.take(str(number))
    assert places.has_room_for("one more")


def test_what_has_a_place_needs_no_other() -> None:
    places = Places(1)
    places.take("a")
    places.take("a")
    assert places.has_room_for("a")
    places.give_back("a")
    assert places.has_room_for("b")


def test_what_is_at_work_already_is_counted_beyond_the_limit() -> None:
    places = Places(1)
    places.take("a")
    places.take("b")
    places.give_back("a")
    assert not places.has_room_for("c")


def test_giving_back_what_was_not_taken_changes_nothing() -> None:
    places = Places(1)
    places.take("a")
    places.give_back("b")
    assert not places.has_room_for("c")
