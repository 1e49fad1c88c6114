"""What pools allow, and the words for what is in the way."""

import json
from typing import Any

import pytest

from trimtab.errors import Invalid
from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import Allocate, Blocker, Units
from trimtab_resmgr import pools
from trimtab_resmgr.pools import Limit

CEILING = 1000


def ask(**more: Any) -> Allocate:
    where = {"pool": "gpu", "token": "a", "project": "flyte", "domain": "development"}
    return Allocate(**{**where, **more})


def pool(**more: Any) -> PoolChanged:
    return PoolChanged(**{"name": "gpu", "quota": 10, **more})


def blocker(limit: Limit, number: int = pools.NONE, held: int = pools.NONE) -> Blocker:
    return pools.blocker(b"gpu", limit, number, held)


def test_the_limits_of_a_pool_are_written_for_the_scripts() -> None:
    capped = pool(project_cap=0, project_domain_cap=3, max_weight=2, active=False)
    assert json.loads(pools.limits(pool(), 7, CEILING)) == [7, True, 10, False, False, False]
    assert json.loads(pools.limits(capped, 8, CEILING)) == [8, False, 10, 0, 3, 2]


def test_the_ceiling_cuts_the_quota() -> None:
    assert json.loads(pools.limits(pool(quota=2000), 1, CEILING))[2] == 1000


@pytest.mark.parametrize(
    ("blocked", "words"),
    [
        (blocker(Limit.QUOTA, 10, 9), "pool 'gpu' has a quota of 10: 9 held, 2 asked for"),
        (
            blocker(Limit.PROJECT_CAP, 3, 2),
            "project 'flyte' may hold 3 of pool 'gpu': 2 held, 2 asked for",
        ),
        (
            blocker(Limit.PROJECT_DOMAIN_CAP, 2, 1),
            "project 'flyte' may hold 2 of pool 'gpu' in domain 'development': 1 held, 2 asked for",
        ),
        (blocker(Limit.INACTIVE), "pool 'gpu' is not active"),
        (blocker(Limit.ORDER), "others wait for pool 'gpu' and come first"),
        (
            blocker(Limit.RESERVATION, 8, 1),
            "8 of pool 'gpu' are kept for one that waited long: 1 held, 2 asked for",
        ),
        (
            blocker(Limit.QUARANTINE),
            "Redis lost its memory: holders are given the time to say what they hold",
        ),
    ],
)
def test_what_is_in_the_way_is_said_with_its_numbers(blocked: Blocker, words: str) -> None:
    assert pools.reason(ask(weight=2), [blocked, blocker(Limit.ORDER)]) == words


def test_where_nothing_is_in_the_way_there_is_no_reason() -> None:
    assert pools.reason(ask(), []) == ""


def test_what_never_fits_names_the_limit_that_waiting_does_not_help_against() -> None:
    both = (Units(pool="seats", weight=1), Units(pool="gpu", weight=4))
    several = Allocate(pools=both, token="a", project="flyte", domain="development")
    full = pools.blocker(b"seats", Limit.QUOTA, 3, 3)
    small = blocker(Limit.PROJECT_CAP, 3, 0)
    assert pools.hopeless(several, [full, small]) == (
        "project 'flyte' may hold 3 of pool 'gpu', so 4 can never be granted"
    )


def test_a_pool_above_the_ceiling_is_refused_with_its_name() -> None:
    pools.check_ceiling([pool(quota=CEILING)], CEILING)
    with pytest.raises(Invalid, match="quota of pool 'gpu': 1001 is not valid"):
        pools.check_ceiling([pool(quota=1001)], CEILING)
