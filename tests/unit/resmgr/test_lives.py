"""What is found wrong with a history, each in the smallest one that shows it."""

from dataclasses import replace

import pytest

from tests.integration.resmgr.lives import Life, Limits, not_grown, over_granted, overtaken

LIMITS = {"gpu": Limits(quota=4, project_cap=3, domain_cap=2)}


def life(token: str, began: float, stopped: float, **more: object) -> Life:
    """Asked for and granted in the same moment."""
    known = Life(token, "gpu", 1, "shop", "staging", 0, first_sent=began)
    times = {"sent": began, "began": began, "stopped": stopped, "fence": round(began)}
    return replace(known, **times | more)


def waited(token: str, since: float, began: float, **more: object) -> Life:
    seen = {"first_sent": since, "placed": since, "waited": began - since, "undisturbed": True}
    return life(token, began, began + 1, **seen | more)


def test_what_one_gives_back_another_may_have_at_once() -> None:
    assert over_granted([life("a", 1, 2, weight=2), life("b", 2, 3, weight=2)], LIMITS) == []


@pytest.mark.parametrize(
    ("more", "limit"),
    [
        ({}, "gpu/shop/staging"),
        ({"domain": "production", "weight": 2}, "gpu/shop"),
        ({"project": "market", "weight": 2}, "gpu"),
    ],
)
def test_more_than_a_limit_is_over_granted(more: dict[str, object], limit: str) -> None:
    held = [life("a", 1, 5, weight=2), life("b", 2, 5, project="media")]
    [found] = over_granted(
        [*(held if limit == "gpu" else held[:1]), life("c", 3, 5, **more)], LIMITS
    )
    assert f"of {limit} are held" in found


def test_a_fence_is_greater_than_those_that_were_known() -> None:
    assert not_grown([life("a", 1, 2, fence=5), life("b", 3, 4, fence=6)]) == []
    assert len(not_grown([life("a", 1, 2, fence=5), life("b", 3, 4, fence=4)])) == 1
    assert len(not_grown([life("a", 1, 9, fence=5), life("b", 1, 9, fence=5)])) == 1


def test_who_comes_later_and_wants_no_more_does_not_go_first() -> None:
    early = waited("early", 1, 9, weight=2)
    assert len(overtaken([early, life("late", 3, 4)])) == 1
    assert overtaken([early, life("larger", 3, 4, weight=3)]) == []
    assert overtaken([early, life("urgent", 3, 4, priority=1)]) == []
    assert overtaken([early, life("before", 0.5, 4)]) == []


def test_who_lost_its_place_was_not_overtaken() -> None:
    assert overtaken([waited("early", 1, 9, waited=2), life("late", 3, 4)]) == []
    assert overtaken([waited("early", 1, 9, undisturbed=False), life("late", 3, 4)]) == []
