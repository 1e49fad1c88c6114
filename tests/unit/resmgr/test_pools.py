"""What a request may take, and the words for a refusal."""

from typing import Any

import pytest

from trimtab.errors import Invalid
from trimtab.events import PoolChanged
from trimtab.tokens import Allocate, Allocated
from trimtab_resmgr import pools
from trimtab_resmgr.pools import Limit

CEILING = 1000


def ask(**more: Any) -> Allocate:
    where = {"pool": "gpu", "token": "a", "project": "flyte", "domain": "development"}
    return Allocate(**{**where, **more})


def pool(**more: Any) -> PoolChanged:
    return PoolChanged(**{"name": "gpu", "quota": 10, **more})


def test_without_caps_the_quota_is_the_only_limit() -> None:
    assert pools.limits(pool(), ask(), CEILING) == {Limit.QUOTA: 10}


@pytest.mark.parametrize(
    ("of_pool", "of_ask", "effective"),
    [(3, None, 3), (None, 3, 3), (3, 5, 3), (5, 3, 3), (0, 5, 0), (5, 0, 0)],
)
def test_the_smaller_of_two_caps_decides(
    of_pool: int | None, of_ask: int | None, effective: int
) -> None:
    capped = pool(project_cap=of_pool, project_domain_cap=of_pool)
    asked = ask(project_cap=of_ask, project_domain_cap=of_ask)
    limits = pools.limits(capped, asked, CEILING)
    assert limits[Limit.PROJECT] == limits[Limit.PROJECT_DOMAIN] == effective


def test_the_ceiling_cuts_the_quota() -> None:
    assert pools.limits(pool(quota=2000), ask(), CEILING) == {Limit.QUOTA: 1000}


def test_a_full_pool_says_its_numbers() -> None:
    refused = pools.refused(ask(weight=2), {Limit.QUOTA: 10}, Limit.QUOTA, held=9, counted=9)
    reason = "pool 'gpu' has a quota of 10: 9 held, 2 asked for"
    assert refused == Allocated(status="exhausted", reason=reason, held=9)


def test_a_cap_names_its_project_and_domain() -> None:
    limits = {Limit.QUOTA: 10, Limit.PROJECT: 3, Limit.PROJECT_DOMAIN: 2}
    of_project = pools.refused(ask(), limits, Limit.PROJECT, held=9, counted=3)
    of_domain = pools.refused(ask(), limits, Limit.PROJECT_DOMAIN, held=9, counted=2)
    assert of_project.reason == "project 'flyte' may hold 3 of pool 'gpu': 3 held, 1 asked for"
    assert of_domain.reason == (
        "project 'flyte' may hold 2 of pool 'gpu' in domain 'development': 2 held, 1 asked for"
    )


@pytest.mark.parametrize("cap", [0, -1, 1])
def test_what_no_waiting_helps_against_never_fits_and_names_that_limit(cap: int) -> None:
    limits = {Limit.QUOTA: 10, Limit.PROJECT: cap}
    # The pool is full too, but that passes.
    refused = pools.refused(ask(weight=2), limits, Limit.QUOTA, held=10, counted=10)
    assert refused.status == "never_fits"
    assert refused.reason == (
        f"project 'flyte' may hold {cap} of pool 'gpu', so 2 can never be granted"
    )


def test_a_quota_at_the_ceiling_is_allowed_and_one_above_it_is_not() -> None:
    pools.check_ceiling([pool(quota=CEILING)], CEILING)
    with pytest.raises(Invalid, match=r"quota of pool 'gpu': 1001 .* resourceMaxQuota, 1000"):
        pools.check_ceiling([pool(), pool(quota=CEILING + 1)], CEILING)
