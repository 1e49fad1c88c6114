"""Grants, sums and the ends of leases, on a real server."""

import asyncio
from collections.abc import Awaitable, Sequence

import pytest
import redis

from tests.integration.resmgr.direct import Cohort, end_leases
from tests.integration.resmgr.running import eventually
from tests.servers import ValkeyServer
from trimtab.errors import Unavailable
from trimtab.messages.events import PoolChanged
from trimtab.tokens.lease import now
from trimtab.tokens.protocol import Allocate, Allocated, Released, Renewed, Units
from trimtab_resmgr import encoding
from trimtab_resmgr.store import LostToken, Rules

SHORT = 0.05
"""A lease that ends before the test reads it again."""
NOW = {"wait_seconds": 0.0}
"""The options of a request that does not wait."""


def pool(**more: int | None) -> PoolChanged:
    return PoolChanged.model_validate({"name": "gpu", "quota": 10, **more})


def granted(answers: Sequence[Allocated]) -> list[bool]:
    return [answer.status == "granted" for answer in answers]


async def in_turn(*requests: Awaitable[Allocated]) -> list[Allocated]:
    return [await request for request in requests]


async def test_a_token_is_granted_until_the_quota_is_held(cohort: Cohort) -> None:
    cohort.declare(pool(quota=2))
    answers = await in_turn(*(cohort.allocate(each, **NOW) for each in "abc"))
    assert [(a.status, a.held) for a in answers] == [
        ("granted", 1),
        ("granted", 2),
        ("exhausted", 2),
    ]


async def test_requesting_a_held_token_grants_it_and_counts_nothing(cohort: Cohort) -> None:
    cohort.declare(pool(quota=1))
    answers = await in_turn(*(cohort.allocate("a") for _ in range(3)))
    assert granted(answers) == [True] * 3
    assert len({answer.fence for answer in answers}) == 1
    assert (await cohort.inspect()).held == 1


async def test_requesting_a_held_token_is_granted_even_beyond_lowered_limits(
    cohort: Cohort,
) -> None:
    await cohort.allocate("a", weight=3)
    cohort.declare(pool(quota=1, project_cap=0, max_weight=1))
    assert (await cohort.allocate("a", weight=3, project_domain_cap=0)).status == "granted"


async def test_a_held_token_that_is_requested_otherwise_is_described(cohort: Cohort) -> None:
    await cohort.allocate("a", weight=3)
    assert (await cohort.allocate("a", weight=3)).reason == ""
    for other in ({"weight": 2}, {"weight": 3, "project": "flyte"}):
        answer = await cohort.allocate("a", **other)
        assert (answer.status, answer.reason) == (
            "granted",
            "the token is held as it was granted: 3 of pool 'gpu', for project 'flytesnacks' in "
            "domain 'development'",
        )


async def test_a_request_that_was_sent_long_ago_is_not_granted(cohort: Cohort) -> None:
    await cohort.allocate("a")
    await cohort.release("a")
    cohort.store._sent_since = lambda: now() - 3.5
    request = encoding.allocate(Allocate(token="a", pool="gpu", project="p", domain="d"), 60)
    [reply] = await cohort.store.submit((request, (cohort.limits["gpu"],)))
    assert reply[0] == encoding.AllocationReply.LATE
    assert (await cohort.inspect()).held == 0


async def test_requesting_a_held_token_extends_its_lease(cohort: Cohort) -> None:
    await cohort.allocate("a", lease_seconds=10)
    await cohort.allocate("a", lease_seconds=50)
    [holder] = (await cohort.inspect()).holders
    assert 40 < holder.expires_in_seconds <= 50


async def test_no_lease_is_longer_than_the_configured_one(cohort: Cohort) -> None:
    assert (await cohort.allocate("a", lease_seconds=1000)).lease_seconds == 60
    assert (await cohort.renew("a", lease_seconds=1000)).lease_seconds == 60
    [holder] = (await cohort.inspect()).holders
    assert holder.expires_in_seconds <= 60


async def test_releasing_frees_units_and_a_second_release_reports_that_nothing_was_held(
    cohort: Cohort,
) -> None:
    await cohort.allocate("a", weight=4)
    answers = [await cohort.release("a") for _ in range(2)]
    assert [answer.released for answer in answers] == [True, False]
    assert answers[1].reason == "the token is not held: its lease has ended, or it was released"
    assert (await cohort.inspect()).held == 0
    assert await cohort.recount() == ()


async def test_weights_are_summed(cohort: Cohort) -> None:
    weights = {"a": 6, "b": 5, "c": 4, "d": 1}
    answers = await in_turn(*(cohort.allocate(t, weight=w, **NOW) for t, w in weights.items()))
    assert granted(answers) == [True, False, True, False]


async def test_a_project_is_not_charged_for_one_with_a_longer_name(cohort: Cohort) -> None:
    projects = {"a": "flytesnacks", "b": "flyte", "c": "flyte"}
    requests = (cohort.allocate(t, project=p, project_cap=1, **NOW) for t, p in projects.items())
    assert granted(await in_turn(*requests)) == [True, True, False]


async def test_a_domain_is_not_charged_for_another_with_a_similar_name(cohort: Cohort) -> None:
    scopes = [("flyte", "development"), ("flyte", "dev"), ("flyte:d", "ev"), ("flyte", "d:ev")]
    for turn, fits in ((1, True), (2, False)):
        for project, domain in scopes:
            token, scope = f"{turn} {project}|{domain}", {"project": project, "domain": domain}
            answer = await cohort.allocate(token, **scope, project_domain_cap=1, **NOW)
            assert (answer.status == "granted") is fits


async def test_a_cap_of_zero_never_fits_even_in_an_empty_pool(cohort: Cohort) -> None:
    refused = await cohort.allocate("a", project_cap=0)
    assert refused.status == "never_fits"
    assert refused.reason == (
        "project 'flytesnacks' may hold 0 of pool 'gpu', so 1 can never be granted"
    )


async def test_a_token_may_have_no_more_units_than_the_max_weight_of_its_pool(
    cohort: Cohort,
) -> None:
    cohort.declare(pool(max_weight=3))
    assert (await cohort.allocate("a", weight=3)).status == "granted"
    refused = await cohort.allocate("b", weight=4)
    assert refused.reason == "a token of pool 'gpu' may have 3, so 4 can never be granted"


async def test_pools_are_counted_separately(cohort: Cohort) -> None:
    cohort.declare(pool(quota=1), PoolChanged(name="gpu:2", quota=1))
    tokens = [("a", "gpu"), ("a", "gpu:2"), ("b", "gpu")]
    answers = await in_turn(*(cohort.allocate(t, pool=p, **NOW) for t, p in tokens))
    assert granted(answers) == [True, True, False]


async def test_a_token_takes_all_of_several_pools_or_none(cohort: Cohort) -> None:
    cohort.declare(pool(quota=2), PoolChanged(name="seats", quota=1))
    both = {"pool": None, "pools": (Units(pool="seats"), Units(pool="gpu", weight=2))}
    await cohort.allocate("a", pool="seats")
    assert (await cohort.allocate("b", **both, **NOW)).status == "exhausted"
    assert (await cohort.inspect("gpu")).held == 0
    await cohort.release("a", pool="seats")
    assert (await cohort.allocate("b", **both)).status == "granted"
    held = [(await cohort.inspect(each)).held for each in ("gpu", "seats")]
    assert held == [2, 1]
    assert (await cohort.release("b", pool=None, pools=("gpu", "seats"))).released
    assert [await cohort.recount(each) for each in ("gpu", "seats")] == [(), ()]


async def test_fences_grow_with_each_grant(cohort: Cohort) -> None:
    first = (await cohort.allocate("a")).fence
    await cohort.release("a")
    second = (await cohort.allocate("a")).fence
    assert first is not None
    assert second is not None
    assert second > first


async def test_an_earlier_fence_neither_renews_nor_releases_a_later_grant(cohort: Cohort) -> None:
    stale = (await cohort.allocate("a")).fence
    await cohort.release("a")
    await cohort.allocate("a")
    assert (await cohort.renew("a", fence=stale)).status == "lost"
    released = await cohort.release("a", fence=stale)
    assert (released.released, released.reason) == (
        False,
        "a later grant of the same token is held",
    )
    assert (await cohort.inspect()).held == 1


async def test_a_renewal_extends_a_held_token_and_grants_nothing(cohort: Cohort) -> None:
    fence = (await cohort.allocate("a")).fence
    renewed = await cohort.renew("a", fence=fence, lease_seconds=30)
    assert (renewed.status, renewed.lease_seconds, renewed.fence) == ("held", 30, fence)
    assert (await cohort.renew("b")).status == "lost"
    assert (await cohort.inspect()).held == 1


async def test_a_lease_that_is_not_renewed_ends_after_its_grace_and_is_reported_as_lost(
    cohort: Cohort,
) -> None:
    fence = (await cohort.allocate("a", weight=10, lease_seconds=SHORT)).fence

    async def freed() -> bool:
        return (await cohort.allocate("b", weight=10, **NOW)).status == "granted"

    await eventually(freed)
    assert not (await cohort.release("a")).released
    assert [each.token for each in (await cohort.inspect()).holders] == ["b"]
    ended = {token for effects in cohort.effects for token in effects.lost}
    assert ended == {LostToken("a", ("gpu",), fence or 0)}


@pytest.mark.parametrize("rules", [Rules(grace=60)])
async def test_in_its_grace_a_lease_can_be_renewed_and_its_units_stay_held(cohort: Cohort) -> None:
    cohort.declare(pool(quota=1))
    await cohort.allocate("a", lease_seconds=0.001)
    [holder] = (await cohort.inspect()).holders
    assert holder.expires_in_seconds <= 0.001
    assert (await cohort.allocate("b", **NOW)).status == "exhausted"
    assert (await cohort.renew("a")).status == "held"


async def test_many_ended_leases_are_reaped_in_parts(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    cohort.declare(pool(quota=150))
    await asyncio.gather(*(cohort.allocate(str(number)) for number in range(150)))
    end_leases(valkey_server)
    held = []
    for _ in range(3):
        await cohort.sweep()
        held.append((await cohort.inspect()).held)
    assert held == [150 - 64, 150 - 128, 0]
    assert await cohort.recount() == ()


async def test_an_ended_lease_counts_as_not_held_before_it_is_reaped(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    cohort.declare(pool(quota=150))
    await asyncio.gather(*(cohort.allocate(f"{number:03}") for number in range(150)))
    end_leases(valkey_server)
    assert not (await cohort.release("149")).released
    assert (await cohort.allocate("148")).held == 150 - 1 - 64 - 1 + 1


async def test_an_empty_pool_stores_nothing_but_its_limits(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    await cohort.allocate("a", weight=10)
    await cohort.allocate("b")
    await cohort.release("b")
    await cohort.release("a")
    with redis.Redis.from_url(valkey_server.url) as client:
        keys = {key.removeprefix(b"trimtab:{default}:") for key in client.scan_iter()}
    assert keys == {b"state", b"pools"}


async def test_requests_of_one_tick_are_one_call(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    cohort.declare(*(PoolChanged(name=f"pool-{number}", quota=9) for number in range(7)))
    await cohort.inspect()
    before = calls(valkey_server)
    requests = (cohort.allocate(str(number), pool=f"pool-{number % 7}") for number in range(32))
    releases = (cohort.release(str(number), pool=f"pool-{number % 7}") for number in range(32))
    await asyncio.gather(*requests, *releases)
    # The first call also loads the script.
    assert calls(valkey_server) - before <= 2


async def test_each_request_of_a_call_gets_its_own_reply(cohort: Cohort) -> None:
    requests = (
        cohort.allocate(str(n), project="flyte" if n % 2 else "flytesnacks", project_cap=2, **NOW)
        for n in range(10)
    )
    answers = await asyncio.gather(*requests)
    assert granted(answers) == [True] * 4 + [False] * 6
    assert {b.limit for a in answers[4:] for b in a.blockers} >= {"project_cap"}


async def test_inspect_lists_holders_and_sums(cohort: Cohort) -> None:
    fence = (await cohort.allocate("a", weight=2, project="flyte:x", domain="a:b")).fence
    await cohort.allocate("ü", lease_seconds=10, domain="production")
    contents = await cohort.inspect()
    assert contents.by_project == {"flyte:x": 2, "flytesnacks": 1}
    assert contents.by_project_domain == {"flyte:x/a:b": 2, "flytesnacks/production": 1}
    assert [each.token for each in contents.holders] == ["ü", "a"]
    assert contents.holders[1].fence == fence
    assert 0 <= contents.holders[1].age_seconds < 60


async def test_a_forced_release_loses_the_token_and_is_recorded(cohort: Cohort) -> None:
    await cohort.allocate("a", weight=10)
    assert (await cohort.force_release("a")).released
    assert not (await cohort.force_release("a")).released
    assert {each.token for each in cohort.effects[-2].lost} == {"a"}
    _, [forced] = await cohort.store.recount("gpu")
    assert (forced.token, forced.actor, forced.why, forced.held) == ("a", "ann", "it hangs", True)
    assert (await cohort.renew("a")).status == "lost"


async def test_recount_names_a_wrong_sum(cohort: Cohort, valkey_server: ValkeyServer) -> None:
    await cohort.allocate("a")
    valkey_server.send(b"HINCRBY trimtab:{default}:sums:gpu t 5\r\n")
    assert await cohort.recount() == ("sum t is 6, its leases have 1",)


async def test_scripts_are_sent_again_after_redis_has_dropped_them(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    await cohort.allocate("a")
    assert valkey_server.send(b"SCRIPT FLUSH SYNC\r\n") == b"+OK\r\n"
    assert (await cohort.allocate("b")).held == 2


async def test_a_failing_script_raises_unavailable(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    assert valkey_server.send(b"SET trimtab:{default}:sums:gpu text\r\n") == b"+OK\r\n"
    with pytest.raises(Unavailable, match="WRONGTYPE"):
        await cohort.allocate("a")


async def test_a_server_without_memory_refuses_grants_and_still_releases_and_renews(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    await asyncio.gather(cohort.allocate("a"), cohort.allocate("b", lease_seconds=30))
    assert valkey_server.send(b"CONFIG SET maxmemory 1\r\n") == b"+OK\r\n"
    for refused in (cohort.allocate("c"), cohort.reprioritize("b", 1)):
        with pytest.raises(Unavailable, match="maxmemory"):
            await refused
    refused, renewed, released = await asyncio.gather(
        cohort.allocate("c"), cohort.renew("b"), cohort.release("a"), return_exceptions=True
    )
    assert isinstance(refused, Unavailable)
    assert isinstance(renewed, Renewed)
    assert renewed.status == "held"
    assert isinstance(released, Released)
    assert released.released
    await cohort.sweep()
    [holder] = (await cohort.inspect()).holders
    assert holder.token == "b"
    assert holder.expires_in_seconds > 30
    assert valkey_server.send(b"CONFIG SET maxmemory 0\r\n") == b"+OK\r\n"
    assert await cohort.recount() == ()


def calls(server: ValkeyServer) -> int:
    """Return the number of script calls since the server started."""
    with redis.Redis.from_url(server.url) as client:
        return int(client.info("commandstats")["cmdstat_evalsha"]["calls"])
