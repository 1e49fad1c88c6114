"""The scripts, on a real server: what is granted, what is counted, what ends."""

import asyncio
from typing import Any

import pytest
import redis

from tests.integration.resmgr.running import eventually
from tests.servers import ValkeyServer
from trimtab.errors import Unavailable
from trimtab.tokens import Allocate, Release
from trimtab_resmgr.leases import Leases, Outcome
from trimtab_resmgr.pools import Limit, Limits

LIMITS: Limits = {Limit.QUOTA: 10}
SHORT = 0.05
"""A lease that ends before the test looks again."""


def ask(token: str, **more: Any) -> Allocate:
    where = {"pool": "gpu", "project": "flytesnacks", "domain": "development"}
    return Allocate(token=token, **{**where, **more})


def give(token: str, pool: str = "gpu") -> Release:
    return Release(pool=pool, token=token)


async def granted(leases: Leases, limits: Limits, *asks: Allocate) -> list[bool]:
    return [(await leases.allocate(each, limits)).refused_by is None for each in asks]


async def test_a_token_is_granted_until_the_quota_is_held(leases: Leases) -> None:
    outcomes = [await leases.allocate(ask(each), {Limit.QUOTA: 2}) for each in "abc"]
    assert outcomes == [Outcome(None, 1, 0), Outcome(None, 2, 0), Outcome(Limit.QUOTA, 2, 2)]


async def test_asking_again_for_a_held_token_grants_it_and_counts_nothing(leases: Leases) -> None:
    for _ in range(3):
        assert await leases.allocate(ask("a"), {Limit.QUOTA: 1}) == Outcome(None, 1, 0)
    assert (await leases.inspect("gpu")).held == 1


async def test_asking_again_is_granted_even_where_it_would_now_be_refused(leases: Leases) -> None:
    await leases.allocate(ask("a", weight=3), LIMITS)
    nothing = {Limit.QUOTA: 1, Limit.PROJECT: 0, Limit.PROJECT_DOMAIN: 0}
    assert await leases.allocate(ask("a", weight=3), nothing) == Outcome(None, 3, 0)


async def test_asking_again_lengthens_the_lease(leases: Leases) -> None:
    await leases.allocate(ask("a", lease_seconds=100), LIMITS)
    await leases.allocate(ask("a", lease_seconds=1000), LIMITS)
    [holder] = (await leases.inspect("gpu")).holders
    assert 900 < holder.expires_in_seconds <= 1000


async def test_giving_a_token_back_frees_its_units_and_a_second_time_does_nothing(
    leases: Leases,
) -> None:
    await leases.allocate(ask("a", weight=4), LIMITS)
    assert [await leases.release(give("a")) for _ in range(2)] == [True, False]
    assert (await leases.inspect("gpu")).held == 0
    assert await leases.audit("gpu") == []


async def test_weights_are_summed(leases: Leases) -> None:
    asks = [ask("a", weight=6), ask("b", weight=5), ask("c", weight=4), ask("d")]
    assert await granted(leases, LIMITS, *asks) == [True, False, True, False]


async def test_a_project_is_not_charged_for_one_with_a_longer_name(leases: Leases) -> None:
    limits = {**LIMITS, Limit.PROJECT: 1}
    asks = [ask("a", project="flytesnacks"), ask("b", project="flyte"), ask("c", project="flyte")]
    assert await granted(leases, limits, *asks) == [True, True, False]


async def test_a_domain_is_not_charged_for_another_that_reads_alike(leases: Leases) -> None:
    limits = {**LIMITS, Limit.PROJECT_DOMAIN: 1}
    places = [("flyte", "development"), ("flyte", "dev"), ("flyte:d", "ev"), ("flyte", "d:ev")]
    asks = [ask(f"{p}|{d}", project=p, domain=d) for p, d in places]
    assert await granted(leases, limits, *asks) == [True] * 4
    again = [ask(f"2 {p}|{d}", project=p, domain=d) for p, d in places]
    assert await granted(leases, limits, *again) == [False] * 4


async def test_a_cap_of_nothing_refuses_also_in_an_empty_pool(leases: Leases) -> None:
    refused = await leases.allocate(ask("a"), {**LIMITS, Limit.PROJECT: 0})
    assert refused == Outcome(Limit.PROJECT, 0, 0)


async def test_pools_are_counted_apart(leases: Leases) -> None:
    asks = [ask("a", pool="gpu"), ask("a", pool="gpu:2"), ask("b", pool="gpu")]
    assert await granted(leases, {Limit.QUOTA: 1}, *asks) == [True, True, False]


async def test_a_lease_that_is_not_renewed_ends_and_frees_its_units(leases: Leases) -> None:
    await leases.allocate(ask("a", weight=10, lease_seconds=SHORT), LIMITS)

    async def freed() -> bool:
        return (await leases.allocate(ask("b", weight=10), LIMITS)).refused_by is None

    await eventually(freed)
    assert await leases.release(give("a")) is False
    assert [each.token for each in (await leases.inspect("gpu")).holders] == ["b"]


async def test_a_crowd_of_ended_leases_is_reaped_in_parts(leases: Leases) -> None:
    crowd = [ask(f"{number}", lease_seconds=SHORT) for number in range(150)]
    await asyncio.gather(*(leases.allocate(each, {Limit.QUOTA: 150}) for each in crowd))
    await asyncio.sleep(2 * SHORT)
    held = [(await leases.inspect("gpu")).held for _ in range(3)]
    assert held == [150 - 64, 150 - 128, 0]
    assert await leases.audit("gpu") == []


async def test_an_ended_lease_is_not_held_even_before_it_is_reaped(leases: Leases) -> None:
    crowd = [ask(f"{number:03}", lease_seconds=SHORT) for number in range(150)]
    await asyncio.gather(*(leases.allocate(each, {Limit.QUOTA: 150}) for each in crowd))
    await asyncio.sleep(2 * SHORT)
    assert await leases.release(give("149")) is False
    assert (await leases.allocate(ask("148"), {Limit.QUOTA: 150})).held == 150 - 2 * 64 - 2 + 1


async def test_an_empty_pool_leaves_nothing_in_redis(
    leases: Leases, valkey_server: ValkeyServer
) -> None:
    await leases.allocate(ask("a"), LIMITS)
    await leases.release(give("a"))
    assert valkey_server.ask(b"DBSIZE\r\n") == b":0\r\n"


async def test_requests_of_one_tick_are_one_call(
    leases: Leases, valkey_server: ValkeyServer
) -> None:
    await leases.inspect("gpu")
    before = calls(valkey_server)
    asks = [ask(str(number), pool=f"pool-{number % 7}") for number in range(64)]
    await asyncio.gather(*(leases.allocate(each, {Limit.QUOTA: 9}) for each in asks))
    assert calls(valkey_server) == before + 1


async def test_answers_of_one_call_are_each_their_own(leases: Leases) -> None:
    asks = [ask(str(n), project="flyte" if n % 2 else "flytesnacks") for n in range(10)]
    limits = {**LIMITS, Limit.PROJECT: 2}
    outcomes = await asyncio.gather(*(leases.allocate(each, limits) for each in asks))
    assert [outcome.refused_by for outcome in outcomes] == [None] * 4 + [Limit.PROJECT] * 6


async def test_requests_for_several_pools_in_one_call_are_each_counted_in_theirs(
    leases: Leases,
) -> None:
    names = ("gpu", "licences", "gpu", "seats", "licences", "seats")
    asks = [ask(str(n), pool=pool, weight=1 + n) for n, pool in enumerate(names)]
    await asyncio.gather(*(leases.allocate(each, {Limit.QUOTA: 99}) for each in asks))
    held = [(await leases.inspect(pool)).held for pool in ("gpu", "licences", "seats")]
    assert held == [1 + 3, 2 + 5, 4 + 6]
    gives = [give(each.token, each.pool) for each in reversed(asks)]
    assert all(await asyncio.gather(*(leases.release(each) for each in gives)))
    for pool in names:
        assert await leases.audit(pool) == []


async def test_inspect_says_who_holds_what(leases: Leases) -> None:
    await leases.allocate(ask("a", weight=2, project="flyte:x", domain="a/b"), LIMITS)
    await leases.allocate(ask("ü", lease_seconds=10, domain="production"), LIMITS)
    contents = await leases.inspect("gpu")
    assert contents.by_project == {"flyte:x": 2, "flytesnacks": 1}
    assert contents.by_project_domain == {"flyte:x/a/b": 2, "flytesnacks/production": 1}
    assert [each.token for each in contents.holders] == ["ü", "a"]


async def test_audit_names_a_sum_that_is_wrong(leases: Leases, valkey_server: ValkeyServer) -> None:
    await leases.allocate(ask("a"), LIMITS)
    valkey_server.ask(b"HINCRBY trimtab:{default}:sums:gpu t 5\r\n")
    assert await leases.audit("gpu") == ["sum t is 6, counted are 1"]


async def test_scripts_that_redis_has_forgotten_are_sent_again(
    leases: Leases, valkey_server: ValkeyServer
) -> None:
    await leases.allocate(ask("a"), LIMITS)
    assert valkey_server.ask(b"SCRIPT FLUSH SYNC\r\n") == b"+OK\r\n"
    assert await leases.allocate(ask("b"), LIMITS) == Outcome(None, 2, 0)


async def test_while_redis_is_away_a_request_fails_and_later_ones_do_not(
    leases: Leases, valkey_server: ValkeyServer
) -> None:
    await leases.allocate(ask("a"), LIMITS)
    valkey_server.stop()
    with pytest.raises(Unavailable, match="Redis does not answer"):
        await leases.allocate(ask("b"), LIMITS)
    valkey_server.start()
    assert await leases.allocate(ask("b"), LIMITS) == Outcome(None, 2, 0)


async def test_a_script_that_fails_is_no_answer(
    leases: Leases, valkey_server: ValkeyServer
) -> None:
    assert valkey_server.ask(b"SET trimtab:{default}:sums:gpu text\r\n") == b"+OK\r\n"
    with pytest.raises(Unavailable, match="WRONGTYPE"):
        await leases.allocate(ask("a"), LIMITS)


def calls(server: ValkeyServer) -> int:
    """Scripts run since the server started."""
    with redis.Redis.from_url(server.url) as client:
        return int(client.info("commandstats")["cmdstat_evalsha"]["calls"])
