"""What is found wrong with a history, each in the smallest one that shows it."""

from dataclasses import replace

import pytest

from tests.integration.resmgr.lives import Life, Limits, not_grown, over_granted, overtaken

LIMITS = {"gpu": Limits(quota=4, project_cap=3, domain_cap=2), "seats": Limits(quota=2)}


def life(token: str, began: float, stopped: float, *, weight: int = 1, **more: object) -> Life:
    """Asked for and granted in the same moment."""
    known = Life(token, (("gpu", weight),), "shop", "staging", 0, first_sent=began)
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


def test_who_heard_of_its_grant_too_late_holds_nothing() -> None:
    assert over_granted([life("late", 5, 3, weight=9), life("b", 6, 7)], LIMITS) == []


def test_one_of_two_pools_counts_in_each() -> None:
    both = life("both", 2, 5, units=(("seats", 2), ("gpu", 1)))
    [found] = over_granted([life("a", 1, 5, units=(("seats", 1),)), both], LIMITS)
    assert "3 of seats are held" in found
    [found] = over_granted([both, life("b", 3, 5, weight=2)], LIMITS)
    assert "3 of gpu/shop/staging are held" in found


@pytest.mark.parametrize(
    ("caps", "limit"),
    [({"project_cap": 1}, "gpu/shop"), ({"domain_cap": 0}, "gpu/shop/production")],
)
def test_no_more_is_granted_than_a_cap_of_the_request_allows(
    caps: dict[str, object], limit: str
) -> None:
    capped = life("capped", 3, 5, domain="production", **caps)
    [found] = over_granted([life("a", 1, 5), capped], LIMITS)
    assert f"of {limit} are held" in found


def test_a_cap_of_a_request_says_nothing_of_what_is_granted_later() -> None:
    heard_late = life("capped", 3, 5, project_cap=1, fence=1)
    assert over_granted([life("a", 2, 5, fence=2), heard_late], LIMITS) == []


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


@pytest.mark.parametrize("more", [{"units": (("gpu", 1), ("seats", 1))}, {"domain_cap": 2}])
def test_only_who_asks_for_the_same_is_compared(more: dict[str, object]) -> None:
    early = waited("early", 1, 9, weight=2)
    assert overtaken([early, life("late", 3, 4, **more)]) == []
    assert overtaken([replace(early, **more), life("late", 3, 4)]) == []
    assert len(overtaken([replace(early, **more), life("late", 3, 4, **more)])) == 1


def test_of_two_pools_either_may_be_larger() -> None:
    early = waited("early", 1, 9, units=(("gpu", 2), ("seats", 1)))
    assert len(overtaken([early, life("late", 3, 4, units=(("seats", 1), ("gpu", 1)))])) == 1
    assert overtaken([early, life("larger", 3, 4, units=(("seats", 2), ("gpu", 1)))]) == []


def test_who_lost_its_place_was_not_overtaken() -> None:
    assert overtaken([waited("early", 1, 9, waited=2), life("late", 3, 4)]) == []
    assert overtaken([waited("early", 1, 9, undisturbed=False), life("late", 3, 4)]) == []
