"""From which project-domain the next request is taken, and which requests wait."""

from collections.abc import Callable, Sequence

from trimtab_propeller.turns import AwaitedNamespaces, EarlyRequests, Turns, UnplacedRequests


def turns(*subjects: str) -> Turns:
    made = Turns(choose=lambda found: found[0])
    for subject in subjects:
        made.add(subject)
    return made


def taken(made: Turns, times: int) -> list[str | None]:
    return [made.next() for _ in range(times)]


def test_the_subjects_have_their_turns_one_after_the_other() -> None:
    assert taken(turns("b", "a", "c"), 5) == ["a", "b", "c", "a", "b"]


def test_a_new_subject_has_its_turn_within_one_round() -> None:
    made = turns("a", "c")
    assert taken(made, 2) == ["a", "c"]
    made.add("b")
    assert taken(made, 3) == ["a", "b", "c"]


def test_a_subject_without_requests_has_no_turn_until_it_is_added_again() -> None:
    made = turns("a", "b")
    made.remove("b")
    made.remove("never added")
    assert taken(made, 2) == ["a", "a"]
    made.add("b")
    made.add("b")
    assert taken(made, 3) == ["b", "a", "b"]


def test_the_order_goes_on_behind_a_subject_that_was_removed() -> None:
    made = turns("a", "b", "c")
    assert taken(made, 2) == ["a", "b"]
    made.remove("b")
    assert taken(made, 2) == ["c", "a"]


def test_the_first_turn_is_chosen_among_all_subjects() -> None:
    offered: list[Sequence[str]] = []

    def choose(found: Sequence[str]) -> str:
        offered.append(list(found))
        return found[-1]

    made = Turns(choose)
    assert made.next() is None
    made.add("a")
    made.add("b")
    assert (made.next(), made.next(), offered) == ("b", "a", [["a", "b"]])


def test_requests_behind_early_ones_are_read_first() -> None:
    early = EarlyRequests()
    assert early.first_sequence("a") == 1
    early.record("a", 3, revision=9, now=0)
    early.record("a", 5, revision=8, now=1)
    assert (early.first_sequence("a"), early.first_sequence("b")) == (6, 1)


def test_early_requests_are_read_again_once_the_first_of_them_is_due() -> None:
    early = EarlyRequests()
    early.record("a", 3, revision=9, now=0)
    early.record("a", 5, revision=8, now=1)
    early.record("b", 4, revision=10**18, now=2)
    assert early.take_due(7) == {}
    assert early.take_due(8) == {"a": 0}
    assert (early.first_sequence("a"), early.first_sequence("b"), len(early)) == (1, 5, 1)


def test_early_requests_are_reported_after_a_while_with_the_revision_that_they_need() -> None:
    early = EarlyRequests()
    early.record("a", 3, revision=9, now=0)
    assert early.waiting(now=10, seconds=10) == {}
    assert early.waiting(now=10.1, seconds=10) == {"a": 9}


def test_subjects_wait_for_their_namespace_until_it_is_taken() -> None:
    awaited = AwaitedNamespaces()
    awaited.record("a", "shared", now=1)
    awaited.record("b", "shared", now=2)
    awaited.record("b", "shared", now=3)
    awaited.record("c", "own", now=4)
    assert [subject in awaited for subject in "abcd"] == [True, True, True, False]
    assert awaited.take("shared") == {"a": 1, "b": 2}
    assert [subject in awaited for subject in "abc"] == [False, False, True]
    assert (awaited.take("shared"), dict(awaited.by_namespace)) == ({}, {"own": {"c": 4}})


def test_a_subject_without_requests_waits_for_no_namespace() -> None:
    awaited = AwaitedNamespaces()
    awaited.record("a", "shared", now=1)
    awaited.record("b", "shared", now=1)
    awaited.record("c", "own", now=1)
    awaited.retain({"b"})
    assert ([subject in awaited for subject in "abc"], dict(awaited.by_namespace)) == (
        [False, True, False],
        {"shared": {"b": 1}},
    )


def test_unplaced_requests_are_read_again_when_their_namespace_or_the_settings_change() -> None:
    takes: list[Callable[[UnplacedRequests], dict[str, float]]] = [
        lambda each: each.take_changed("ns"),
        lambda each: each.take_older(8),
    ]
    for take in takes:
        unplaced = UnplacedRequests()
        unplaced.record("a", 3, "ns", revision=7, reason="first", now=1)
        unplaced.record("a", 5, "ns", revision=9, reason="second", now=2)
        unplaced.record("b", 4, "other", revision=8, reason="b", now=3)
        assert (unplaced.first_sequence("a"), unplaced.first_sequence("c")) == (6, 1)
        assert unplaced.waiting(now=12.5, seconds=10) == {"a": "first"}
        assert take(unplaced) == {"a": 1}
        assert (unplaced.first_sequence("a"), unplaced.first_sequence("b")) == (1, 5)


def test_a_subject_that_is_forgotten_or_has_no_requests_is_not_unplaced() -> None:
    unplaced, early = UnplacedRequests(), EarlyRequests()
    for name in "abc":
        unplaced.record(name, 3, "ns", revision=7, reason="", now=1)
    unplaced.forget("a")
    unplaced.retain({"a", "b"})
    assert unplaced.take_changed("ns") == {"b": 1}
    early.record("a", 3, revision=9, now=0)
    early.forget("a")
    assert early.first_sequence("a") == 1
