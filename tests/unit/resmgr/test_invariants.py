"""Each violation is found in the smallest history that shows it."""

from dataclasses import replace

import pytest

from tests.integration.resmgr.invariants import (
    Limits,
    Observation,
    find_fence_regressions,
    find_over_grants,
    find_overtaken,
)

LIMITS = {"gpu": Limits(quota=4, project_cap=3, domain_cap=2), "seats": Limits(quota=2)}


def held(
    token: str, began: float, stopped: float, *, weight: int = 1, **more: object
) -> Observation:
    """Return a token that was granted at the moment of its request."""
    known = Observation(token, (("gpu", weight),), "shop", "staging", 0, first_sent=began)
    times = {"sent": began, "began": began, "stopped": stopped, "fence": round(began)}
    return replace(known, **times | more)


def waited(token: str, since: float, began: float, **more: object) -> Observation:
    times = {"first_sent": since, "queued": since, "waited": began - since, "undisturbed": True}
    return held(token, began, began + 1, **times | more)


def test_released_units_may_be_granted_at_the_same_moment() -> None:
    assert find_over_grants([held("a", 1, 2, weight=2), held("b", 2, 3, weight=2)], LIMITS) == []


@pytest.mark.parametrize(
    ("more", "limit"),
    [
        ({}, "gpu/shop/staging"),
        ({"domain": "production", "weight": 2}, "gpu/shop"),
        ({"project": "market", "weight": 2}, "gpu"),
    ],
)
def test_more_units_than_a_limit_are_an_over_grant(more: dict[str, object], limit: str) -> None:
    before = [held("a", 1, 5, weight=2), held("b", 2, 5, project="media")]
    [found] = find_over_grants(
        [*(before if limit == "gpu" else before[:1]), held("c", 3, 5, **more)], LIMITS
    )
    assert f"of {limit} are held" in found


def test_a_grant_that_was_received_too_late_counts_nothing() -> None:
    assert find_over_grants([held("late", 5, 3, weight=9), held("b", 6, 7)], LIMITS) == []


def test_a_token_of_two_pools_counts_in_each() -> None:
    both = held("both", 2, 5, units=(("seats", 2), ("gpu", 1)))
    [found] = find_over_grants([held("a", 1, 5, units=(("seats", 1),)), both], LIMITS)
    assert "3 of seats are held" in found
    [found] = find_over_grants([both, held("b", 3, 5, weight=2)], LIMITS)
    assert "3 of gpu/shop/staging are held" in found


@pytest.mark.parametrize(
    ("caps", "limit"),
    [({"project_cap": 1}, "gpu/shop"), ({"domain_cap": 0}, "gpu/shop/production")],
)
def test_more_units_than_a_cap_of_the_request_are_an_over_grant(
    caps: dict[str, object], limit: str
) -> None:
    capped = held("capped", 3, 5, domain="production", **caps)
    [found] = find_over_grants([held("a", 1, 5), capped], LIMITS)
    assert f"of {limit} are held" in found


def test_a_cap_of_a_request_does_not_limit_later_grants() -> None:
    received_late = held("capped", 3, 5, project_cap=1, fence=1)
    assert find_over_grants([held("a", 2, 5, fence=2), received_late], LIMITS) == []


def test_a_fence_is_greater_than_those_known_before() -> None:
    assert find_fence_regressions([held("a", 1, 2, fence=5), held("b", 3, 4, fence=6)]) == []
    assert len(find_fence_regressions([held("a", 1, 2, fence=5), held("b", 3, 4, fence=4)])) == 1
    assert len(find_fence_regressions([held("a", 1, 9, fence=5), held("b", 1, 9, fence=5)])) == 1


def test_a_later_request_of_no_more_units_does_not_overtake() -> None:
    early = waited("early", 1, 9, weight=2)
    assert len(find_overtaken([early, held("late", 3, 4)])) == 1
    assert find_overtaken([early, held("larger", 3, 4, weight=3)]) == []
    assert find_overtaken([early, held("urgent", 3, 4, priority=1)]) == []
    assert find_overtaken([early, held("before", 0.5, 4)]) == []


@pytest.mark.parametrize("more", [{"units": (("gpu", 1), ("seats", 1))}, {"domain_cap": 2}])
def test_only_requests_for_the_same_pools_and_caps_are_compared(more: dict[str, object]) -> None:
    early = waited("early", 1, 9, weight=2)
    assert find_overtaken([early, held("late", 3, 4, **more)]) == []
    assert find_overtaken([replace(early, **more), held("late", 3, 4)]) == []
    assert len(find_overtaken([replace(early, **more), held("late", 3, 4, **more)])) == 1


def test_a_request_that_is_larger_in_one_of_two_pools_may_overtake() -> None:
    early = waited("early", 1, 9, units=(("gpu", 2), ("seats", 1)))
    late = held("late", 3, 4, units=(("seats", 1), ("gpu", 1)))
    assert len(find_overtaken([early, late])) == 1
    assert find_overtaken([early, held("larger", 3, 4, units=(("seats", 2), ("gpu", 1)))]) == []


def test_a_waiter_that_lost_its_position_was_not_overtaken() -> None:
    assert find_overtaken([waited("early", 1, 9, waited=2), held("late", 3, 4)]) == []
    assert find_overtaken([waited("early", 1, 9, undisturbed=False), held("late", 3, 4)]) == []
