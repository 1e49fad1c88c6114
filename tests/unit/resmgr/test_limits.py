"""The limits of pools: their encoding, the ceiling, and the messages of refusals."""

import json
from typing import Any

import pytest

from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import Allocate, Blocked, Blocker, Units
from trimtab_resmgr import encoding, limits
from trimtab_resmgr.limits import Limit, PoolState, Source

CEILING = 1000


def request(**more: Any) -> Allocate:
    fields = {"pool": "gpu", "token": "a", "project": "flyte", "domain": "development"}
    return Allocate(**{**fields, **more})


def pool(**more: Any) -> PoolChanged:
    return PoolChanged(**{"name": "gpu", "quota": 10, **more})


def blocker(limit: Limit, number: int = encoding.NONE, held: int = encoding.NONE) -> Blocker:
    return encoding.parse_blocker(b"gpu", limit, number, held)


def test_the_limits_of_a_pool_are_encoded_for_the_scripts() -> None:
    capped = pool(project_cap=0, project_domain_cap=3, max_weight=2, active=False)
    assert json.loads(encoding.pool_limits(pool(), encoding.Version(5, 7), CEILING)) == [
        7,
        True,
        10,
        False,
        False,
        False,
        5,
    ]
    assert json.loads(encoding.pool_limits(capped, encoding.Version(5, 8), CEILING)) == [
        8,
        False,
        10,
        0,
        3,
        2,
        5,
    ]


def test_the_ceiling_cuts_the_quota() -> None:
    assert (
        json.loads(encoding.pool_limits(pool(quota=2000), encoding.Version(0, 1), CEILING))[2]
        == 1000
    )


@pytest.mark.parametrize(
    ("blocked", "message"),
    [
        (blocker(Limit.QUOTA, 10, 9), "pool 'gpu' has a quota of 10: 9 held, 2 requested"),
        (
            blocker(Limit.PROJECT_CAP, 3, 2),
            "project 'flyte' may hold 3 of pool 'gpu': 2 held, 2 requested",
        ),
        (
            blocker(Limit.PROJECT_DOMAIN_CAP, 2, 1),
            "project 'flyte' may hold 2 of pool 'gpu' in domain 'development': 1 held, 2 requested",
        ),
        (blocker(Limit.INACTIVE), "pool 'gpu' is not active"),
        (blocker(Limit.ORDER), "other waiters of pool 'gpu' come first"),
        (
            blocker(Limit.RESERVATION, 8, 1),
            "8 of pool 'gpu' are reserved for an earlier waiter: 1 held, 2 requested",
        ),
        (
            blocker(Limit.QUARANTINE),
            "Redis lost its data: holders have time to reassert their tokens",
        ),
    ],
)
def test_a_reason_names_the_first_blocker_with_its_numbers(blocked: Blocker, message: str) -> None:
    assert limits.wait_reason(request(weight=2), [blocked, blocker(Limit.ORDER)]) == message


def test_without_a_blocker_there_is_no_reason() -> None:
    assert limits.wait_reason(request(), []) == ""


def test_the_reason_of_never_fits_names_the_limit_that_the_request_exceeds_by_itself() -> None:
    both = (Units(pool="seats", weight=1), Units(pool="gpu", weight=4))
    several = Allocate(pools=both, token="a", project="flyte", domain="development")
    full = encoding.parse_blocker(b"seats", Limit.QUOTA, 3, 3)
    small = blocker(Limit.PROJECT_CAP, 3, 0)
    assert limits.never_fits_reason(several, [full, small]) == (
        "project 'flyte' may hold 3 of pool 'gpu', so 4 can never be granted"
    )


def test_a_pool_above_the_ceiling_is_an_error_that_names_it() -> None:
    assert limits.quota_error(pool(quota=CEILING), CEILING) is None
    error = limits.quota_error(pool(quota=1001), CEILING)
    assert str(error).startswith("quota of pool 'gpu': 1001 is not valid; allowed: at most")


def state(*blockers: Source, waiting: int = 1) -> PoolState:
    return PoolState(10, 2, waiting, is_known=True, since_seconds=3.0, demand=7, blockers=blockers)


@pytest.mark.parametrize("order", [1, -1])
def test_the_reason_of_a_blocked_pool_has_a_fixed_precedence(order: int) -> None:
    reasons = [
        Source("max_weight", "gpu", ""),
        Source("quota", "gpu", "t"),
        Source("project_cap", "gpu", "p"),
        Source("project_domain_cap", "gpu", "p/d"),
        Source("reservation", "gpu", "u"),
        Source("order", "gpu", "gpu"),
        Source("inactive", "cpu", ""),
    ]
    found = [
        limits.blocked("gpu", state(*reasons[first:][::order]), None)
        for first in range(len(reasons))
    ]
    assert [(each.reason, each.pool, each.by) for each in found if each] == reasons


def test_a_reason_of_the_whole_pool_comes_before_those_of_its_waiters() -> None:
    quota = Source("quota", "gpu", "t")
    assert limits.blocked("gpu", state(quota), Source("moved", "gpu", "night")) == Blocked(
        reason="moved", pool="gpu", by="night", since_seconds=3.0, demand=7
    )
    assert limits.blocked("gpu", state(), None) is None


def test_waiters_of_a_pool_without_limits_wait_for_unknown_ones() -> None:
    inactive = Source("inactive", "gpu", "")
    unknown = state(inactive)._replace(is_known=False)
    found = limits.blocked("gpu", unknown, None)
    assert found is not None
    assert found.reason == "unknown"
    assert limits.blocked("gpu", unknown._replace(waiting=0, blockers=()), None) is None
