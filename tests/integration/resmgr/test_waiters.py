"""Who waits: places, order, who goes next, and what they are told."""

import asyncio

import pytest

from tests.integration.resmgr.direct import Cohort
from tests.integration.resmgr.running import eventually
from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import Units
from trimtab_resmgr.leases import Rules, Woken

WAIT = {"wait_seconds": 600.0}
NOW = {"wait_seconds": 0.0}


def pool(**more: object) -> PoolChanged:
    return PoolChanged.model_validate({"name": "gpu", "quota": 1, **more})


@pytest.fixture
async def full(cohort: Cohort) -> Cohort:
    """A pool of 1 that is held by ``holder``."""
    cohort.declare(pool())
    await cohort.allocate("holder")
    return cohort


def woken(cohort: Cohort) -> list[str]:
    return [each.token for news in cohort.news for each in news.woken]


async def order(cohort: Cohort) -> list[str]:
    return [waiter.token for waiter in (await cohort.inspect()).waiters]


async def test_a_waiter_is_told_its_position_and_what_is_in_its_way(full: Cohort) -> None:
    answers = [await full.allocate(token, **WAIT) for token in "ab"]
    assert [(a.status, a.position) for a in answers] == [("waiting", 1), ("waiting", 2)]
    assert answers[0].reason == "pool 'gpu' has a quota of 1: 1 held, 1 asked for"
    assert [(b.limit, b.number, b.held) for b in answers[0].blockers] == [("quota", 1, 1)]
    assert {b.limit for b in answers[1].blockers} == {"quota", "order"}
    assert answers[0].retry_after_seconds == 10


async def test_a_release_wakes_exactly_the_next_and_it_has_to_claim(full: Cohort) -> None:
    for token in "ab":
        await full.allocate(token, **WAIT)
    await full.release("holder")
    assert full.news[-1].woken == (Woken("a", ("gpu",), 10.0),)
    [holder] = (await full.inspect()).holders
    assert (holder.token, holder.claimed) == ("a", False)
    claimed = await full.allocate("a", **WAIT)
    assert claimed.status == "granted"
    assert claimed.waited_seconds is not None
    [holder] = (await full.inspect()).holders
    assert holder.claimed
    assert holder.expires_in_seconds > 50


async def test_one_that_polls_is_told_what_it_always_was_and_keeps_its_place(full: Cohort) -> None:
    answers = [await full.allocate(token) for token in "abab"]
    assert {answer.status for answer in answers} == {"exhausted"}
    assert [answer.position for answer in answers] == [1, 2, 1, 2]
    await full.release("holder")
    assert [(await full.allocate(token)).status for token in "ba"] == ["exhausted", "granted"]


async def test_who_wants_no_place_has_none_and_does_not_overtake(full: Cohort) -> None:
    await full.allocate("a", **WAIT)
    assert (await full.allocate("b", **NOW)).position is None
    assert await order(full) == ["a"]
    await full.release("holder")
    assert (await full.allocate("b", **NOW)).status == "exhausted"


@pytest.mark.parametrize("rules", [Rules(place=0.1)])
async def test_a_place_that_is_not_asked_for_again_is_lost(full: Cohort) -> None:
    await full.allocate("dead", **WAIT)

    async def first() -> bool:
        return (await full.allocate("alive", **WAIT)).position == 1

    await eventually(first)
    assert await order(full) == ["alive"]
    assert sum(news.dropped for news in full.news) == 1


@pytest.mark.parametrize("rules", [Rules(place=0.1)])
async def test_a_grant_that_is_not_claimed_goes_to_the_next(full: Cohort) -> None:
    await full.allocate("dead", **WAIT)
    await full.release("holder")

    async def granted() -> bool:
        return (await full.allocate("alive", **WAIT)).status == "granted"

    await eventually(granted)
    assert sum(news.unclaimed for news in full.news) == 1
    assert not any(news.ended for news in full.news)


async def test_who_has_waited_for_its_budget_is_told_so_and_leaves(full: Cohort) -> None:
    await full.allocate("a", wait_seconds=0.05)
    await asyncio.sleep(0.06)
    answer = await full.allocate("a", wait_seconds=0.05)
    assert (answer.status, answer.reason) == ("exhausted", "it has waited for its 0.05 s")
    assert await order(full) == []


async def test_a_release_of_one_that_waits_gives_its_place_back(full: Cohort) -> None:
    await full.allocate("a", **WAIT)
    released = await full.release("a")
    assert (released.released, released.withdrew) == (False, True)
    assert await order(full) == []
    assert await full.audit() == ()


async def test_a_smaller_request_of_the_same_scope_does_not_overtake(cohort: Cohort) -> None:
    await cohort.allocate("holder", weight=6)
    await cohort.allocate("large", weight=5, **WAIT)
    small = await cohort.allocate("small", weight=1, **WAIT)
    assert [b.limit for b in small.blockers] == ["order"]
    await cohort.release("holder")
    assert woken(cohort) == ["large", "small"]


async def test_a_request_of_another_project_goes_where_it_fits(cohort: Cohort) -> None:
    await cohort.allocate("holder", weight=6)
    await cohort.allocate("large", weight=5, **WAIT)
    small = await cohort.allocate("small", weight=1, project="other", **WAIT)
    assert small.status == "granted"


@pytest.mark.parametrize("rules", [Rules(ripe=0.0)])
async def test_units_are_kept_for_the_first_once_it_has_waited_long(cohort: Cohort) -> None:
    await cohort.allocate("holder", weight=6)
    await cohort.allocate("large", weight=8, **WAIT)
    small = await cohort.allocate("small", weight=1, project="other", **WAIT)
    assert [(b.limit, b.number) for b in small.blockers] == [("reservation", 8)]
    await cohort.release("holder")
    assert woken(cohort) == ["large", "small"]


@pytest.mark.parametrize("rules", [Rules(ripe=0.0)])
async def test_nothing_is_kept_for_one_that_waits_for_its_own_cap(cohort: Cohort) -> None:
    await cohort.allocate("holder", weight=6)
    await cohort.allocate("capped", weight=4, project_cap=9, **WAIT)
    assert (await cohort.allocate("small", project="other", **WAIT)).status == "granted"


@pytest.mark.parametrize("rules", [Rules(ripe=0.0)])
async def test_two_that_wait_for_each_others_pools_do_not_block_each_other(
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
    assert woken(cohort) == ["0"]


async def test_projects_take_turns(full: Cohort) -> None:
    for token in ("a1", "a2", "a3", "b1", "b2"):
        await full.allocate(token, project=token[0], **WAIT)
    assert await order(full) == ["a1", "b1", "a2", "b2", "a3"]


async def test_a_higher_priority_comes_first(full: Cohort) -> None:
    for token, priority in (("a", 0), ("b", 1), ("c", 2)):
        await full.allocate(token, priority=priority, **WAIT)
    assert await order(full) == ["c", "b", "a"]


@pytest.mark.parametrize("rules", [Rules(ageing=3)])
async def test_who_waits_long_is_not_overtaken_by_priority_for_ever(full: Cohort) -> None:
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


async def test_the_priority_of_a_waiter_can_be_changed_and_stays_so(full: Cohort) -> None:
    for token in "abc":
        await full.allocate(token, **WAIT)
    moved = await full.reprioritize("c", 1)
    assert (moved.waiting, moved.position) == (True, 1)
    assert (await full.allocate("c", **WAIT)).position == 1
    assert await order(full) == ["c", "a", "b"]
    assert not (await full.reprioritize("never asked", 1)).waiting
    assert await full.audit() == ()


async def test_a_larger_quota_lets_waiters_go_at_once(full: Cohort) -> None:
    for token in "abc":
        await full.allocate(token, **WAIT)
    full.declare(pool(quota=3))
    await full.allocate("c", **WAIT)
    assert woken(full) == ["a", "b"]


async def test_of_a_pool_that_is_not_active_nothing_is_granted_and_holders_stay(
    full: Cohort,
) -> None:
    full.declare(pool(quota=5, active=False))
    assert (await full.allocate("holder")).status == "granted"
    waiting = await full.allocate("a", **WAIT)
    assert (waiting.status, waiting.reason) == ("waiting", "pool 'gpu' is not active")
    full.declare(pool(quota=5))
    assert (await full.allocate("a", **WAIT)).status == "granted"


async def test_after_a_lowered_quota_nothing_is_granted_until_enough_came_back(
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


async def test_who_no_longer_fits_at_all_is_told_so_and_does_not_hold_up_others(
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
        "pool 'gpu' has a quota of 3: 3 held, 1 asked for"
    )


async def test_behind_very_many_that_have_reached_their_caps_others_still_go(
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
    assert woken(cohort) == ["last"]
    assert await cohort.audit() == ()
