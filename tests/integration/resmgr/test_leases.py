"""The scripts, on a real server: what is granted, what is counted, what ends."""

from typing import Any

from trimtab.tokens import Allocate, Release
from trimtab_resmgr.leases import Leases, Outcome
from trimtab_resmgr.pools import Limit


def ask(token: str, **more: Any) -> Allocate:
    where = {"pool": "gpu", "project": "flytesnacks", "domain": "development"}
    return Allocate(token=token, **{**where, **more})


def give(token: str, pool: str = "gpu") -> Release:
    return Release(pool=pool, token=token)


async def test_a_token_is_granted_until_the_quota_is_held(leases: Leases) -> None:
    limits = {Limit.QUOTA: 2}
    outcomes = [await leases.allocate(ask(token), limits) for token in ("a", "b", "c")]
    assert outcomes == [Outcome(None, 1, 0), Outcome(None, 2, 0), Outcome(Limit.QUOTA, 2, 2)]


async def test_asking_again_for_a_held_token_grants_it_and_counts_nothing(leases: Leases) -> None:
    limits = {Limit.QUOTA: 1}
    for _ in range(3):
        assert await leases.allocate(ask("a"), limits) == Outcome(None, 1, 0)
    assert (await leases.inspect("gpu")).held == 1
