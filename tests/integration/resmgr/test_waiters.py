"""Waiters: positions, order, grants and blockers."""

import asyncio

import pytest
from redis.asyncio import Redis

from tests.integration.resmgr.direct import Cohort
from tests.integration.resmgr.running import eventually
from tests.servers import ValkeyServer
from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import Units
from trimtab_resmgr.store import PreGrant, Rules

WAIT = {"wait_seconds": 600.0}
NOW = {"wait_seconds": 0.0}


def pool(**more: object) -> PoolChanged:
    return PoolChanged.model_validate({"name": "gpu", "quota": 1, **more})


@pytest.fixture
async def full(cohort: Cohort) -> Cohort:
    """A cohort with a pool of 1 unit, which ``holder`` holds."""
    cohort.declare(pool())
    await cohort.allocate("holder")
    return cohort


def pre_granted(cohort: Cohort) -> list[str]:
    return [grant.token for effects in cohort.effects for grant in effects.pre_grants]


async def order(cohort: Cohort) -> list[str]:
    return [waiter.token for waiter in (await cohort.inspect()).waiters]


async def test_a_waiter_gets_its_position_and_its_blockers(full: Cohort) -> None:
    answers = [await full.allocate(token, **WAIT) for token in "ab"]
    assert [(a.status, a.position) for a in answers] == [("waiting", 1), ("waiting", 2)]
    assert answers[0].reason == "pool 'gpu' has a quota of 1: 1 held, 1 requested"
    assert [(b.limit, b.number, b.held) for b in answers[0].blockers] == [("quota", 1, 1)]
    assert {b.limit for b in answers[1].blockers} == {"quota", "order"}
    assert answers[0].retry_after_seconds == 10


async def test_a_release_grants_exactly_the_next_waiter_which_has_to_claim(full: Cohort) -> None:
    for token in "ab":
        await full.allocate(token, **WAIT)
    await full.release("holder")
    assert full.effects[-1].pre_grants == (PreGrant("a", ("gpu",), 10.0),)
    [holder] = (await full.inspect()).holders
    assert (holder.token, holder.claimed) == ("a", False)
    claimed = await full.allocate("a", **WAIT)
    assert claimed.status == "granted"
    assert claimed.waited_seconds is not None
    [holder] = (await full.inspect()).holders
    assert holder.claimed
    assert holder.expires_in_seconds > 50


async def test_a_poller_gets_exhausted_and_keeps_its_position(full: Cohort) -> None:
    answers = [await full.allocate(token) for token in "abab"]
    assert {answer.status for answer in answers} == {"exhausted"}
    assert [answer.position for answer in answers] == [1, 2, 1, 2]
    await full.release("holder")
    assert [(await full.allocate(token)).status for token in "ba"] == ["exhausted", "granted"]


async def test_a_request_that_does_not_wait_has_no_position_and_does_not_overtake(
    full: Cohort,
) -> None:
    await full.allocate("a", **WAIT)
    assert (await full.allocate("b", **NOW)).position is None
    assert await order(full) == ["a"]
    await full.release("holder")
    assert (await full.allocate("b", **NOW)).status == "exhausted"


@pytest.mark.parametrize("rules", [Rules(keep_waiter=0.1)])
async def test_a_waiter_that_does_not_repeat_its_request_loses_its_position(full: Cohort) -> None:
    await full.allocate("dead", **WAIT)

    async def first() -> bool:
        return (await full.allocate("alive", **WAIT)).position == 1

    await eventually(first)
    assert "dead" not in await order(full)
    # On a busy machine the other one may be late as well.
    assert sum(effects.abandoned for effects in full.effects) >= 1


@pytest.mark.parametrize("rules", [Rules(keep_waiter=0.1)])
async def test_an_unclaimed_grant_goes_to_the_next_waiter(full: Cohort) -> None:
    await full.allocate("dead", **WAIT)
    await full.release("holder")

    async def granted() -> bool:
        return (await full.allocate("alive", **WAIT)).status == "granted"

    await eventually(granted)
    assert sum(effects.unclaimed for effects in full.effects) == 1
    assert not any(effects.lost for effects in full.effects)


@pytest.mark.parametrize("rules", [Rules(grace=0.05, keep_poller=3600)])
async def test_a_poller_that_has_ended_holds_its_grant_no_longer_than_a_lease_and_the_grace(
    full: Cohort,
) -> None:
    await full.allocate("dead", lease_seconds=0.15)
    await full.allocate("next", **WAIT)
    await full.release("holder")
    assert full.effects[-1].pre_grants == (PreGrant("dead", ("gpu",), 0.2),)

    async def granted() -> bool:
        await full.sweep()
        return pre_granted(full) == ["dead", "next"]

    await eventually(granted)
    assert sum(effects.unclaimed for effects in full.effects) == 1


async def test_a_waiter_is_refused_after_its_wait_seconds(full: Cohort) -> None:
    await full.allocate("a", wait_seconds=0.05)
    await asyncio.sleep(0.06)
    answer = await full.allocate("a", wait_seconds=0.05)
    assert (answer.status, answer.reason) == ("exhausted", "not granted within wait_seconds, 0.05")
    assert await order(full) == []


async def test_a_release_withdraws_a_waiter(full: Cohort) -> None:
    await full.allocate("a", **WAIT)
    released = await full.release("a")
    assert (released.released, released.withdrew) == (False, True)
    assert await order(full) == []
    assert await full.recount() == ()


async def test_a_smaller_request_of_the_same_scope_does_not_overtake(cohort: Cohort) -> None:
    await cohort.allocate("holder", weight=6)
    await cohort.allocate("large", weight=5, **WAIT)
    small = await cohort.allocate("small", weight=1, **WAIT)
    assert [b.limit for b in small.blockers] == ["order"]
    await cohort.release("holder")
    assert pre_granted(cohort) == ["large", "small"]


async def test_a_request_of_another_project_is_granted_where_it_fits(cohort: Cohort) -> None:
    await cohort.allocate("holder", weight=6)
    await cohort.allocate("large", weight=5, **WAIT)
    small = await cohort.allocate("small", weight=1, project="other", **WAIT)
    assert small.status == "granted"


@pytest.mark.parametrize("rules", [Rules(reserve_after=0.0)])
async def test_units_are_reserved_for_the_first_after_a_long_wait(cohort: Cohort) -> None:
    await cohort.allocate("holder", weight=6)
    await cohort.allocate("large", weight=8, **WAIT)
    small = await cohort.allocate("small", weight=1, project="other", **WAIT)
    assert [(b.limit, b.number) for b in small.blockers] == [("reservation", 8)]
    await cohort.release("holder")
    assert pre_granted(cohort) == ["large", "small"]


@pytest.mark.parametrize("rules", [Rules(reserve_after=0.0)])
async def test_nothing_is_reserved_for_a_waiter_at_its_own_cap(cohort: Cohort) -> None:
    await cohort.allocate("holder", weight=6)
    await cohort.allocate("capped", weight=4, project_cap=9, **WAIT)
    assert (await cohort.allocate("small", project="other", **WAIT)).status == "granted"


@pytest.mark.parametrize("rules", [Rules(reserve_after=0.0)])
async def test_no_number_of_waiters_at_their_caps_takes_the_reservation_from_a_waiter(
    cohort: Cohort,
) -> None:
    cohort.declare(pool(quota=30))
    capped = [f"p{number}" for number in range(20)]
    for project in capped:
        await cohort.allocate(project, project=project)
        await cohort.allocate(f"{project}/2", project=project, project_cap=1, **WAIT)
    small = [f"small{number}" for number in range(10)]
    for token in small:
        await cohort.allocate(token, project="small")
    await cohort.allocate("large", project="large", weight=10, **WAIT)
    for number, token in enumerate(small):
        await cohort.release(token)
        await cohort.allocate(f"later{number}", project="small", **WAIT)
    assert pre_granted(cohort)[0] == "large"
    assert await cohort.recount() == ()


async def test_waiters_at_a_cap_are_granted_when_it_allows_more(cohort: Cohort) -> None:
    cohort.declare(pool(quota=9, project_cap=2))
    await cohort.allocate("a", project="a", weight=2)
    await cohort.allocate("holder", project="b", weight=2)
    for token in "xy":
        await cohort.allocate(token, project="a", domain=token, **WAIT)
    await cohort.release("holder")
    await cohort.sweep()
    await cohort.release("a")
    assert pre_granted(cohort) == ["x", "y"]
    await cohort.allocate("z", project="a", domain="z", **WAIT)
    cohort.declare(pool(quota=9, project_cap=3))
    await cohort.declare_now("gpu")
    assert pre_granted(cohort) == ["x", "y", "z"]


async def test_a_waiter_at_a_cap_that_allows_more_since_a_quarantine_is_granted_after_it(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    await cohort.allocate("holder")
    await cohort.allocate("capped", project_cap=1, **WAIT)
    await cohort.allocate("other", project="other")
    await cohort.release("other")
    async with Redis.from_url(valkey_server.url) as client:
        await client.hset("trimtab:{default}:state", "run", "another")
        await cohort.release("holder")
        assert await cohort.recount() == ()
        await client.hset("trimtab:{default}:state", "until", 1)
        await client.zadd("trimtab:{default}:due", {"gpu": 1})
    await cohort.sweep()
    assert pre_granted(cohort) == ["capped"]


async def test_a_waiter_at_its_own_cap_is_granted_when_it_raises_the_cap(cohort: Cohort) -> None:
    await cohort.allocate("a")
    await cohort.allocate("b", project="other", weight=9)
    assert (await cohort.allocate("c", project_cap=1, **WAIT)).status == "waiting"
    await cohort.release("b")
    assert (await cohort.allocate("c", project_cap=1, **WAIT)).status == "waiting"
    assert (await cohort.allocate("c", project_cap=2, **WAIT)).status == "granted"
    assert await cohort.recount() == ()


@pytest.mark.parametrize("rules", [Rules(reserve_after=0.0)])
async def test_waiters_of_the_same_two_pools_do_not_block_each_other(
    cohort: Cohort,
) -> None:
    cohort.declare(pool(), pool(name="seats"))
    both = {"pool": None, "pools": (Units(pool="gpu"), Units(pool="seats"))}
    await cohort.allocate("a")
    await cohort.allocate("b", pool="seats")
    for number in range(3):
        await cohort.allocate(str(number), **both, project=f"p{number}", **WAIT)
    await cohort.release("a")
    await cohort.release("b", pool="seats")
    assert pre_granted(cohort) == ["0"]


@pytest.mark.parametrize("project_cap", [None, 1])
async def test_a_waiter_of_two_pools_does_not_overtake_the_first_of_one_of_them(
    cohort: Cohort, project_cap: int | None
) -> None:
    cohort.declare(pool(quota=2), pool(name="seats"))
    both = {"pool": None, "pools": (Units(pool="gpu", weight=2), Units(pool="seats"))}
    await cohort.allocate("holder", **both)
    await cohort.allocate("first", project_cap=project_cap, **WAIT)
    await cohort.allocate("second", **both, project="other", **WAIT)
    await cohort.release("holder", pool=None, pools=("gpu", "seats"))
    assert pre_granted(cohort) == ["first"]
    await cohort.release("first")
    assert pre_granted(cohort) == ["first", "second"]


async def test_one_of_two_waiters_is_granted_that_are_the_first_in_different_pools(
    cohort: Cohort,
) -> None:
    cohort.declare(pool(), pool(name="seats"))
    both = {"pool": None, "pools": (Units(pool="gpu"), Units(pool="seats"))}
    await cohort.allocate("holder", **both)
    await cohort.allocate("before", pool="seats", **WAIT)
    await cohort.allocate("a", **both, domain="staging", **WAIT)
    await cohort.allocate("b", **both, project="other", **WAIT)
    await cohort.release("before", pool="seats")
    orders = [(await cohort.inspect(name)).waiters for name in ("gpu", "seats")]
    assert [[waiter.token for waiter in each] for each in orders] == [["a", "b"], ["b", "a"]]
    await cohort.release("holder", pool=None, pools=("gpu", "seats"))
    [first] = pre_granted(cohort)
    await cohort.release(first, pool=None, pools=("gpu", "seats"))
    assert sorted(pre_granted(cohort)) == ["a", "b"]
    assert await cohort.recount() == ()


@pytest.mark.parametrize("rules", [Rules(reserve_after=0.0, reserve_idle=0.3)])
async def test_a_waiter_of_two_pools_blocks_the_one_that_is_free_in_turns_only(
    cohort: Cohort,
) -> None:
    cohort.declare(pool(), pool(name="seats"))
    await cohort.allocate("holder")
    both = {"pool": None, "pools": (Units(pool="gpu"), Units(pool="seats"))}
    await cohort.allocate("both", **both, **WAIT)
    seen: set[str] = set()

    async def was_blocked_and_granted() -> bool:
        answer = await cohort.allocate("one", pool="seats", project="other", **WAIT)
        seen.update([answer.status, *(blocker.limit for blocker in answer.blockers)])
        await cohort.release("one", pool="seats")
        return seen == {"waiting", "reservation", "granted"}

    await eventually(was_blocked_and_granted)
    [waiter] = (await cohort.inspect("seats")).waiters
    assert waiter.token == "both"
    await cohort.release("holder")
    assert pre_granted(cohort)[-1] == "both"


async def test_projects_take_turns(full: Cohort) -> None:
    for token in ("a1", "a2", "a3", "b1", "b2"):
        await full.allocate(token, project=token[0], **WAIT)
    assert await order(full) == ["a1", "b1", "a2", "b2", "a3"]


async def test_a_higher_priority_comes_first(full: Cohort) -> None:
    for token, priority in (("a", 0), ("b", 1), ("c", 2)):
        await full.allocate(token, priority=priority, **WAIT)
    assert await order(full) == ["c", "b", "a"]


@pytest.mark.parametrize("rules", [Rules(ageing=3)])
async def test_a_waiter_is_not_overtaken_by_higher_priorities_indefinitely(full: Cohort) -> None:
    await full.allocate("patient", project="other", **WAIT)
    holder, overtaken = "holder", 0
    for turn in range(10):
        await full.allocate(f"{turn}", priority=1, **WAIT)
        await full.release(holder)
        [holder] = [each.token for each in (await full.inspect()).holders]
        overtaken += holder != "patient"
        if holder == "patient":
            break
        await full.allocate(holder, priority=1, **WAIT)
    assert 0 < overtaken <= 4


async def test_a_changed_priority_of_a_waiter_stays_changed(full: Cohort) -> None:
    for token in "abc":
        await full.allocate(token, **WAIT)
    moved = await full.reprioritize("c", 1)
    assert (moved.waiting, moved.position) == (True, 1)
    assert (await full.allocate("c", **WAIT)).position == 1
    assert await order(full) == ["c", "a", "b"]
    assert not (await full.reprioritize("unknown", 1)).waiting
    assert await full.recount() == ()


async def test_a_larger_quota_grants_waiters_at_once(full: Cohort) -> None:
    for token in "abc":
        await full.allocate(token, **WAIT)
    full.declare(pool(quota=3))
    await full.allocate("c", **WAIT)
    assert pre_granted(full) == ["a", "b"]


async def test_an_inactive_pool_grants_nothing_and_keeps_its_holders(
    full: Cohort,
) -> None:
    full.declare(pool(quota=5, active=False))
    assert (await full.allocate("holder")).status == "granted"
    waiting = await full.allocate("a", **WAIT)
    assert (waiting.status, waiting.reason) == ("waiting", "pool 'gpu' is not active")
    full.declare(pool(quota=5))
    assert (await full.allocate("a", **WAIT)).status == "granted"


async def test_after_a_lowered_quota_nothing_is_granted_until_enough_is_released(
    cohort: Cohort,
) -> None:
    for token in "abcde":
        await cohort.allocate(token)
    cohort.declare(pool(quota=2))
    for token in "abc":
        assert (await cohort.allocate("new", **WAIT)).status == "waiting"
        await cohort.release(token)
    assert (await cohort.allocate("d")).status == "granted"
    await cohort.release("d")
    assert (await cohort.allocate("new", **WAIT)).status == "granted"


async def test_a_waiter_that_no_longer_fits_at_all_is_refused_and_blocks_no_other(
    cohort: Cohort,
) -> None:
    await cohort.allocate("holder", weight=10)
    await cohort.allocate("large", weight=9, **WAIT)
    await cohort.allocate("small", weight=2, **WAIT)
    cohort.declare(pool(quota=5))
    assert (await cohort.allocate("large", weight=9, **WAIT)).status == "never_fits"
    assert await order(cohort) == ["small"]


async def test_a_replica_that_missed_a_change_does_not_undo_it(full: Cohort) -> None:
    stale = dict(full.limits)
    full.declare(pool(quota=3))
    await full.allocate("a", **WAIT)
    full.limits = stale
    assert (await full.allocate("b", **WAIT)).status == "granted"
    assert (await full.allocate("c", **WAIT)).reason == (
        "pool 'gpu' has a quota of 3: 3 held, 1 requested"
    )


async def test_a_waiter_behind_very_many_at_their_caps_is_granted(
    cohort: Cohort,
) -> None:
    cohort.declare(pool(quota=400))
    capped = [f"p{number}" for number in range(300)]
    await asyncio.gather(*(cohort.allocate(p, project=p) for p in capped))
    await cohort.allocate("holder", weight=100)
    waits = (cohort.allocate(f"{p}/2", project=p, project_cap=1, **WAIT) for p in capped)
    await asyncio.gather(*waits)
    await cohort.allocate("last", project="last", priority=-1, weight=50, **WAIT)
    await cohort.release("holder")
    for _ in range(3):
        await cohort.sweep()
    assert pre_granted(cohort) == ["last"]
    assert await cohort.recount() == ()
